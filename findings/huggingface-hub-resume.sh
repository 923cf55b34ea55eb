#!/usr/bin/env bash
# What: hf_hub_download of huggingface-hub 2.4.0 on a download that an earlier process began.
# Seen: nothing of it is kept. The second process asks for the whole file: no Range header, and no unfinished file is left on the disk.
# Why a good guess is wrong: earlier versions kept NAME.incomplete and went on from it, http_get still has a parameter resume_size, and
#   the retries inside one process do send a Range. Who relies on running the same command again fetches 20 GB twice.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "huggingface-hub==2.4.0"
cat > "$work/show.py" <<'PY'
import hashlib, http.server, os, subprocess, sys, threading
DATA, COMMIT, ranges = bytes(30 << 20), "0" * 40, []
class Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self): self.answer(False)
    def do_GET(self): self.answer(True)
    def answer(self, body):
        if "/resolve/" not in self.path: return self.send_error(404)
        asked = self.headers.get("Range")
        if body: ranges.append(asked)
        start = int(asked.split("=")[1].split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        headers = {"ETag": '"%s"' % hashlib.sha256(DATA).hexdigest(), "X-Repo-Commit": COMMIT, "Content-Length": len(DATA) - start}
        if asked: headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        for k, v in headers.items(): self.send_header(k, str(v))
        self.end_headers()
        if body:
            try: self.wfile.write(DATA[start:])
            except OSError: pass
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = sys.argv[1]
code = """
import resource, signal, sys, huggingface_hub
if sys.argv[1] == "limited":  # a file may have 12 MiB: stands for a disk that becomes full
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, 12 << 20))
print(huggingface_hub.__version__)
huggingface_hub.hf_hub_download("org/model", "model.gguf")
"""
environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": home, "HF_HUB_DISABLE_XET": "1"}
first = subprocess.run([sys.executable, "-c", code, "limited"], env=environment, capture_output=True, text=True)
left = [name for _, _, names in os.walk(home) for name in names if name.endswith(".incomplete")]
second = subprocess.run([sys.executable, "-c", code, "free"], env=environment, capture_output=True, text=True)
print("huggingface-hub", first.stdout.strip())
print("first process:", first.stderr.strip().splitlines()[-1], "| unfinished files left:", left)
print("second process: exit", second.returncode, "| Range headers of all downloads:", ranges)
sys.exit(0 if first.returncode and second.returncode == 0 and not left and ranges == [None, None] else 1)
PY
"$work/venv/bin/python" "$work/show.py" "$work/hf"

"""`hfc serve`, `ps` and `stop` as processes: the daemon, its record and log, TLS, a drain on SIGTERM, options that contradict each other."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import string
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tokenizers
import uvicorn
from model_reference import MODELS

from hfc.base.diagnostics import HfcError
from hfc.cli import has_glibc
from hfc.cli.serve import Draining
from hfc.serve import record as records
from hfc.serve.record import ServerRecord, recorded, running


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model whose vocabulary is the printable ASCII characters."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(MODELS / "qwen3" / "model.safetensors")
    config = json.loads((MODELS / "qwen3" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    vocabulary = {c: i for i, c in enumerate(string.printable[:95])}
    tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [])).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder of this module's own: other servers of the machine are not seen."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def hfc(cache):
    """Run `hfc ...`; servers that a test leaves are killed."""

    def run(*words, code=0):
        done = subprocess.run(command(*words), capture_output=True, text=True, timeout=120, env=environment(cache))
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    yield run
    for record in records_in(cache):
        os.kill(record.pid, signal.SIGKILL)


def command(*words):
    return [sys.executable, "-m", "hfc", *map(str, words)]


def environment(cache):
    return {**os.environ, "HFC_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}


def records_in(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFC_CACHE", str(cache))
        return running()


def get(url, key=None, context=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20, context=context) as answer:
        return answer.status, answer.headers, json.loads(answer.read())


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=60)


@contextlib.contextmanager
def serving(model, cache, program=("-m", "hfc"), options=()):
    """A server in the foreground and where it listens; killed if the test leaves it running."""
    words = (
        "serve",
        *([model] if model else []),
        "--port",
        0,
        "--ctx",
        4096,
        "--slots",
        1,
        "--threads",
        1,
        "--draft",
        "off",
        *options,
    )
    with subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(cache),
    ) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if " on http" in line:
                    yield process, line.rsplit(" ", 1)[1].strip()
                    return
            raise AssertionError("".join(lines))
        finally:
            process.kill()


def completion(tokens, **more):
    return {"model": "tiny", "prompt": "hello", "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more}


def test_a_daemon_is_started_listed_and_stopped(hfc, model, cache):
    said = hfc("serve", model, "-d", "--port", 0, "--ctx", 64, "--slots", 2, "--threads", 1)
    (record,) = records_in(cache)
    url = f"http://127.0.0.1:{record.port}"
    assert url in said and str(record.pid) in said and record.model == "tiny" and record.log in said
    assert record.pid != os.getpid() and os.getsid(record.pid) == record.pid, "it outlives the terminal"
    assert "2 slots of 64 tokens" in open(record.log).read()
    allocator = b"PYTHONMALLOC=malloc" in Path(f"/proc/{record.pid}/environ").read_bytes().split(b"\0")
    assert allocator == has_glibc() or "PYTHONMALLOC" in os.environ, "memory goes back page by page"
    with post(f"{url}/v1/completions", completion(4)) as answer:
        assert json.loads(answer.read())["usage"]["completion_tokens"] == 4
    listed = hfc("ps")
    assert "tiny" in listed and str(record.port) in listed and str(record.pid) in listed
    assert "cannot listen" in hfc("serve", model, "-d", "--port", record.port, code=2)
    assert "stopped tiny" in hfc("stop", record.port)
    assert hfc("ps").strip() == "no server runs" and not records_in(cache)
    with pytest.raises(urllib.error.URLError):
        get(f"{url}/health")
    assert "no server runs" in hfc("stop", code=2)


def test_a_server_is_found_by_port_or_by_model(monkeypatch, tmp_path):
    several = ServerRecord(11436, 2, "127.0.0.1", "tiny, smollm2:135m", 0.0)
    twins = [ServerRecord(port, port, "127.0.0.1", "twin", 0.0) for port in (11437, 11438)]
    own = ServerRecord(11435, 1, "127.0.0.1", "qwen3:8b", 0.0)
    monkeypatch.setattr(records, "running", lambda: [own, several, *twins])
    assert records.find("11436") is several and records.find("qwen3:8b") is own
    for which, problem, hint in (
        ("tiny", "the server of tiny has other models too: tiny, smollm2:135m", "11436"),
        ("twin", "several servers run twin", "11437 (twin), 11438 (twin)"),
        (None, "several servers run", "11435 (qwen3:8b), 11436"),
        ("qwen3", "no server runs with the model qwen3", "11435 (qwen3:8b)"),
        ("80", "no server runs on port 80", "11435"),
    ):
        with pytest.raises(HfcError) as error:
            records.find(which)
        assert error.value.message == problem and hint in error.value.hint
    monkeypatch.setattr(records, "running", lambda: [own])
    assert records.find(None) is own
    (tmp_path / "tiny-1b.gguf").write_bytes(b"")
    file = ServerRecord(11439, 3, "127.0.0.1", "tiny-1b", 0.0)
    monkeypatch.setattr(records, "running", lambda: [own, file])
    assert records.find(str(tmp_path / "tiny-1b.gguf")) is file, "as hfc serve was told"


def test_a_daemon_that_cannot_start_says_why(hfc, tmp_path):
    assert "no such file" in hfc("serve", tmp_path / "nothing.gguf", "-d", "--port", 0, code=2)
    assert hfc("ps").strip() == "no server runs"


def wait_until_closed(url):
    """The signal has been noticed: two that come before that are one."""
    with pytest.raises(OSError):  # refused, or cut off by the end of the process
        for _ in range(400):
            get(f"{url}/health")
            time.sleep(0.05)


def test_sigterm_finishes_what_runs_and_takes_nothing_new(model, cache):
    with serving(model, cache, options=("--drain", 120)) as (
        process,
        url,
    ):  # a loaded machine takes its time for 1,000 tokens
        with post(
            f"{url}/v1/completions", completion(1000, stream=True, stream_options={"include_usage": True})
        ) as answer:
            first = answer.readline()
            process.send_signal(signal.SIGTERM)
            wait_until_closed(url)
            lines = [first, *answer]
        assert process.wait(120) == 0 and "Traceback" not in process.stdout.read()
        assert not (cache / "serve" / f"{urlsplit(url).port}.json").exists(), "no record is left"
    chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    assert lines[-2].strip() == b"data: [DONE]" and chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 1000


def test_the_end_of_a_drain_is_told_to_those_whom_it_cuts_off(model, cache):
    long, refused = completion(4000, n=16), []

    def ask_whole(url):
        with pytest.raises(urllib.error.HTTPError) as error:
            post(f"{url}/v1/completions", long)
        refused.append((error.value.code, error.value.read()))

    with serving(model, cache, options=("--drain", 0.5)) as (process, url):
        whole = threading.Thread(target=ask_whole, args=(url,))
        with post(f"{url}/v1/completions", {**long, "stream": True}) as answer:
            first = answer.readline()
            whole.start()
            time.sleep(0.5)  # one that is being planned is told, too
            process.send_signal(signal.SIGTERM)
            lines = [first, *answer]
        whole.join(60)
        assert process.wait(60) == 0 and "Traceback" not in process.stdout.read()
    assert b"shutting down" in lines[-2] + lines[-1] and b"[DONE]" not in b"".join(lines)
    ((status, said),) = refused
    assert status == 503 and b"shutting down" in said


def test_a_second_signal_ends_at_once(model, cache):
    with serving(model, cache) as (process, url):
        with post(f"{url}/v1/completions", completion(4000, n=16, stream=True)) as answer:
            answer.readline()
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            wait_until_closed(url)
            process.send_signal(signal.SIGTERM)
            process.wait(25)  # --drain is 30
            assert time.monotonic() - began < 25 and process.returncode == -signal.SIGTERM


def test_a_signal_before_the_loop_runs_ends_it_and_a_second_one_would_kill():
    """uvicorn's own handlers, installed when its loop starts, do not take the place of what the first signal set."""
    handlers = {sig: signal.getsignal(sig) for sig in (signal.SIGTERM, signal.SIGINT)}
    server = Draining(uvicorn.Config(None, log_level="critical", lifespan="off"))
    try:
        server.catch_signals()
        signal.raise_signal(signal.SIGTERM)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server.run([listener])
        assert [signal.getsignal(sig) for sig in handlers] == [signal.SIG_DFL] * 2
    finally:
        for sig, handler in handlers.items():
            signal.signal(sig, handler)


@pytest.mark.long  # a fast machine may compile the largest schema that is taken before the second signal
def test_a_second_signal_ends_at_once_while_a_grammar_compiles(model, cache):
    """A grammar that is compiled by a worker for as long as it may: neither it nor what forked it is left behind."""
    asked = {"prompt": "x", "n_predict": 4, "json_schema": large_schema(3000)}
    with serving(model, cache, options=("--grammar-timeout", 60)) as (process, url):
        thread = threading.Thread(target=ended, args=(f"{url}/completion", asked), daemon=True)
        thread.start()
        thread.join(1)
        assert thread.is_alive(), "it compiles"
        below = descendants(process.pid)
        assert len(below) >= 2, "what forks workers, and workers"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # it drains: --drain is 30
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM and time.monotonic() - began < 2
        while any(map(is_alive, below)):
            assert time.monotonic() - began < 10, "workers are left"
            time.sleep(0.05)


def ended(url, body):
    """Ask, whatever comes of it."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        post(url, body).read()


def large_schema(n):
    """Harmless, and takes many seconds to compile."""
    names = [f"p{i}" for i in range(n)]
    properties = {p: {"type": "number", "minimum": 1.5, "maximum": 10**9} for p in names}
    return {"type": "object", "properties": properties, "required": names}


def descendants(pid):
    children = [int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


def is_alive(pid):
    """Not one that only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


LOSES_ITS_DEVICE = """
import sys
from hfc.base.diagnostics import DeviceLost
from hfc.cli import main
from hfc.runtime.host import HostModel
def lost(self, step): raise DeviceLost("the card fell off")
HostModel.forward = lost
main(sys.argv[1:])
"""


def test_a_lost_device_is_told_and_ends_the_process_with_3(model, cache):
    with serving(model, cache, ("-c", LOSES_ITS_DEVICE)) as (process, url):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{url}/v1/completions", completion(4))
        assert "the card fell off" in json.loads(refused.value.read())["error"]["message"]
        assert process.wait(30) == 3
        assert not (cache / "serve" / f"{urlsplit(url).port}.json").exists(), "no record is left"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program to make a certificate")
def test_tls_keys_from_a_file_and_cors(hfc, model, cache, tmp_path):
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(
        [*made, "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True
    )
    (tmp_path / "keys").write_text("s3cret\nother\n")
    said = hfc(
        "serve", model, "-d", "--port", 0, "--ctx", 64, "--threads", 1, "--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem",
        "--api-key-file", tmp_path / "keys", "--cors", "https://app.example",
    )  # fmt: skip
    (record,) = records_in(cache)
    url, trusted = f"https://127.0.0.1:{record.port}", ssl.create_default_context(cafile=tmp_path / "cert.pem")
    assert url in said
    status, _, models = get(f"{url}/v1/models", "other", trusted)
    assert status == 200 and models["data"][0]["id"] == "tiny"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(f"{url}/v1/models", "wrong", trusted)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(f"{url}/health", context=ssl.create_default_context())
    for origin in ("https://app.example", "https://evil.example"):
        request = urllib.request.Request(f"{url}/health", headers={"Origin": origin})
        with urllib.request.urlopen(request, timeout=20, context=trusted) as answer:
            assert answer.headers.get("access-control-allow-origin") == (origin if "app" in origin else None)
    assert "stopped tiny" in hfc("stop", "tiny")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("MODEL", "--host", "0.0.0.0"), "--api-key"),
        (("MODEL", "--tls-cert", "cert.pem"), "--tls-key"),
        (("MODEL", "--device", "null"), "cannot serve"),
        (("MODEL", "--device", "host", "--random-weights"), "--random-weights"),
        (("MODEL", "--api-key", " "), "empty"),
        ((), "nothing to serve"),
        (("MODEL", "--draft", "nowhere"), "nowhere"),
        (("MODEL", "--idle-unload", "0"), "idle-unload"),
        (("MODEL", "--kv", "q5"), "q5"),
    ],
)
def test_options_that_cannot_be(hfc, model, words, problem):
    words = [model if word == "MODEL" else word for word in words]
    done = subprocess.run(command("serve", *words, "--port", 0), capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and problem in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_record_lives_as_long_as_its_process(tmp_path, monkeypatch):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "7.json").write_text('{"port": 7}')  # what a killed server left
    with recorded(ServerRecord(8, os.getpid(), "127.0.0.1", "m", time.time())):
        assert [r.port for r in running()] == [8] and not (tmp_path / "serve" / "7.json").exists()
        with (
            pytest.raises(Exception, match="runs on port 8 already"),
            recorded(ServerRecord(8, 1, "127.0.0.1", "other", 0.0)),
        ):
            pass
        assert [r.model for r in running()] == ["m"]
    assert running() == []

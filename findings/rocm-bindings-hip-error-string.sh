#!/usr/bin/env bash
# What: hipGetErrorString and hipGetErrorName of rocm-bindings-hip 10.0.0.0.1.2 on a machine without libamdhip64.
# Seen: every other call raises RuntimeError ("failed to dlopen"). These two write a traceback to stderr and return
#   (hipSuccess, None).
# Why a good guess is wrong: whoever checks the status of each call, as the package's examples do, reads "success" and goes on with None
#   as the text of an error, on exactly the machines where an error is being explained. The status says nothing about the library.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "rocm-bindings-hip==10.0.0.0.1.2"
cat > "$work/show.py" <<'PY'
import ctypes.util, importlib.metadata, sys
from rocm.bindings import hip
if ctypes.util.find_library("amdhip64"):
    sys.exit("this shows what happens without libamdhip64; this machine has one")
def tried(name, *arguments):
    try: return getattr(hip, name)(*arguments)
    except Exception as error: return f"{type(error).__name__}: {str(error).splitlines()[0][:40]}"
print("rocm-bindings-hip", importlib.metadata.version("rocm-bindings-hip"))
found = {name: tried(name, hip.hipError_t.hipErrorInvalidValue) for name in ("hipGetErrorString", "hipGetErrorName")}
other = tried("hipGetDeviceCount")
for name, value in {**found, "hipGetDeviceCount": other}.items(): print(f"{name}: {value}")
expected = (hip.hipError_t.hipSuccess, None)
sys.exit(0 if all(value == expected for value in found.values()) and str(other).startswith("RuntimeError") else 1)
PY
"$work/venv/bin/python" "$work/show.py" 2> "$work/stderr" || { cat "$work/stderr"; exit 1; }
echo "tracebacks on stderr: $(grep -c '^Exception ignored' "$work/stderr")"

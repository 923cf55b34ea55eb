#!/usr/bin/env bash
# What: calls of rocm-bindings-hip 10.0.0.0.1.2 that fill a structure or a text in C: hipGetDeviceProperties, hipDeviceGetName.
# Seen: hipGetDeviceProperties takes the device alone and returns (status, properties); given a structure first, as in C and in
#   hip-python 6, it is a TypeError. No library and no card is needed to see it: the number of arguments is checked before.
# Why a good guess is wrong: it follows hip-python, whose first example is
#   "props = hip.hipDeviceProp_t(); hipGetDeviceProperties(props, 0)". hipDeviceGetName still wants the length of a buffer.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "rocm-bindings-hip==10.0.0.0.1.2"
cat > "$work/show.py" <<'PY'
import importlib.metadata, sys
from rocm.bindings import hip
def tried(name, *arguments):
    try: return f"returned {getattr(hip, name)(*arguments)[0]}"
    except Exception as error: return f"{type(error).__name__}: {str(error).splitlines()[0]}"
print("rocm-bindings-hip", importlib.metadata.version("rocm-bindings-hip"))
as_in_c = tried("hipGetDeviceProperties", hip.hipDeviceProp_t(), 0)
device_alone = tried("hipGetDeviceProperties", 0)
name_alone, name_with_length = tried("hipDeviceGetName", 0), tried("hipDeviceGetName", 64, 0)
print("hipGetDeviceProperties(structure, 0):", as_in_c)
print("hipGetDeviceProperties(0):", device_alone[:70])
print("hipDeviceGetName(0):", name_alone[:70])
print("hipDeviceGetName(64, 0):", name_with_length[:70])
wrong, right = [t.startswith("TypeError") for t in (as_in_c, name_alone)], [t.startswith("TypeError") for t in (device_alone, name_with_length)]
sys.exit(0 if all(wrong) and not any(right) else 1)
PY
"$work/venv/bin/python" "$work/show.py"

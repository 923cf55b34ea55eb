#!/usr/bin/env bash
# What: == between two handles of one thing, cuda-bindings 13.5.0 (cuda.bindings.driver). No GPU and no driver are needed.
# Seen: CUstream, CUcontext and CUevent of equal value are equal. CUdevice and CUdeviceptr of equal value are not, although their ints are:
#   a set holds one device twice, and `mine == other` of two calls of cuDeviceGet(0) is False.
# Why a good guess is wrong: all are thin wrappers of one integer, and their neighbours compare it. A program that asks "is this the same
#   card?" always hears no, and copies a card's memory to itself by way of the host. Compare int(device), or the ordinal.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "cuda-bindings==13.5.0"
"$work/venv/bin/python" - <<'PY'
import sys
import cuda.bindings
from cuda.bindings import driver as cu

print("cuda-bindings", cuda.bindings.__version__)
seen = {}
for name in ("CUstream", "CUcontext", "CUevent", "CUdevice", "CUdeviceptr"):
    kind = getattr(cu, name)
    one, other = kind(7), kind(7)
    seen[name] = one == other
    print(f"{name}(7) == {name}(7): {seen[name]}; ints equal {int(one) == int(other)}, hashes equal {hash(one) == hash(other)}")
expected = {"CUstream": True, "CUcontext": True, "CUevent": True, "CUdevice": False, "CUdeviceptr": False}
print("devices in a set:", len({cu.CUdevice(0), cu.CUdevice(0)}))
sys.exit(seen != expected or len({cu.CUdevice(0), cu.CUdevice(0)}) != 2)
PY

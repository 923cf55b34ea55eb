#!/usr/bin/env bash
# What: float32 to float8 in torch 2.13.0 on a CPU and in ml-dtypes 0.6.0: e4m3fn beyond its range, and the scale type e8m0fnu of 0 and of
#   negative numbers.
# Seen: torch saturates: 465, and even infinity, become 448. ml-dtypes makes all of them NaN. As a scale, torch turns 0 into 2^-127 and -2
#   into 2; ml-dtypes turns both into NaN. In range both agree.
# Why a good guess is wrong: both are "the" conversion of their world to one published format, which has a NaN and no infinity. A reference
#   made in one and checked in the other differs just where a weight is broken, and torch hides that it is.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "torch==2.13.0" "ml-dtypes==0.6.0" "numpy==2.2.6"
cat > "$work/show.py" <<'PY'
import importlib.metadata
import ml_dtypes, numpy, torch
def both(values, name):
    values = numpy.array(values, numpy.float32)
    in_torch = torch.from_numpy(values).to(getattr(torch, name)).view(torch.uint8).tolist()
    with numpy.errstate(all="ignore"):
        in_numpy = values.astype(getattr(ml_dtypes, name)).view(numpy.uint8).tolist()
    print(f"{name} of {values.tolist()}: torch {[hex(b) for b in in_torch]}, ml-dtypes {[hex(b) for b in in_numpy]}")
    return in_torch, in_numpy
print("torch", torch.__version__, "ml-dtypes", importlib.metadata.version("ml-dtypes"))
in_torch, in_numpy = both([1, 448, 464], "float8_e4m3fn")
assert in_torch == in_numpy, "in range both are one"
in_torch, in_numpy = both([465, numpy.inf, -numpy.inf], "float8_e4m3fn")
assert in_torch == [0x7E, 0x7E, 0xFE] and [b & 0x7F for b in in_numpy] == [0x7F] * 3, "the behaviour has changed"
in_torch, in_numpy = both([0, -2], "float8_e8m0fnu")
assert in_torch == [0x00, 0x80] and in_numpy == [0xFF, 0xFF], "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

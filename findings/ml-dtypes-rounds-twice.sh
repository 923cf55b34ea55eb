#!/usr/bin/env bash
# What: float64 arrays as bfloat16, float8_e4m3fn and float8_e5m2 of ml_dtypes 0.6.0, and as float16 of numpy 2.4.6.
# Seen: numpy's own float16 is rounded once. ml_dtypes goes through float32: a number just above the middle between two values, by less than
#   float32 can tell, becomes the middle and then the even neighbour below it. 1 + 2**-8 + 2**-40 is 1.0 as bfloat16; the nearest
#   is 1.0078125. The distance of the error is half a step of the small format, not a rounding of float32.
# Why a good guess is wrong: these are numpy dtypes, astype is documented to round to nearest, and computing in float64 is what one does
#   to be safe; here it gives another bit than the exact value asks for, where float16 beside it does not.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ml_dtypes==0.6.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
from fractions import Fraction

import ml_dtypes
import numpy as np

print("ml_dtypes", ml_dtypes.__version__, "numpy", np.__version__)
seen = []
for kind, bits in ((np.float16, 10), (ml_dtypes.bfloat16, 7), (ml_dtypes.float8_e4m3fn, 3), (ml_dtypes.float8_e5m2, 2)):
    value = np.array([1 + 2.0 ** -(bits + 1) + 2.0**-40])
    low, high = 1.0, 1 + 2.0**-bits
    exact = Fraction(value[0])
    nearest = high if high - exact < exact - low else low
    found = float(value.astype(kind)[0])
    seen.append(found == nearest)
    print(f"{np.dtype(kind).name}: 1 + 2**-{bits + 1} + 2**-40 becomes {found}, the nearest is {nearest}")
assert seen == [True, False, False, False], "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

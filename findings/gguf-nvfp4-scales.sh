#!/usr/bin/env bash
# What: gguf.quants.NVFP4.fp32_to_ue4m3 of gguf 0.19.0, which encodes the scales of NVFP4 blocks, beside float8_e4m3fn of ml_dtypes 0.6.0.
# Seen: every scale from 248 on becomes 0x7E, 448: 250 and 256 are off by 75 % and more, although E4M3 has 256, 288, 320 ... 416 and decoding
#   (ue4m3_to_fp32 of the same class) knows them. Below 2**-6, from 7.5 * 2**-9 on, the scale becomes 7 * 2**-9 instead of 2**-6: 7 to 12 % off,
#   where all values between other neighbours are within half a step. Encoding what was decoded changes six of 127 codes.
# Why a good guess is wrong: the format is named after E4M3 "fn", whose last exponent holds numbers up to 448, and the two halves of one
#   class are expected to be each other's inverse. NVFP4 checkpoints scale their tensors so that the largest scale of a block is 448: the top
#   range is the one in use; scales of weights that were not scaled lie around 2**-6.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "gguf==0.19.0" "ml_dtypes==0.6.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import importlib.metadata

import ml_dtypes
import numpy as np
from gguf.quants import NVFP4

def through(scales):
    """What a scale is after it was encoded. Decoding has a factor of 0.5, for its table of doubled values."""
    return 2 * NVFP4.ue4m3_to_fp32(NVFP4.fp32_to_ue4m3(np.array(scales, np.float32)))

print("gguf", importlib.metadata.version("gguf"), "ml_dtypes", ml_dtypes.__version__)
CASES = [(1.0, 1.0), (17.0, 18.0), (240.0, 240.0), (250.0, 448.0), (256.0, 448.0), (300.0, 448.0), (0.0151, 7 * 2**-9), (2**-6, 2**-6)]
for scale, expected in CASES:
    found, nearest = float(through(scale)), float(np.float32(scale).astype(ml_dtypes.float8_e4m3fn))
    print(f"{scale:.6g} becomes {found:.6g}; the nearest of E4M3 is {nearest:.6g}")
    assert found == expected, "the behaviour has changed"
codes = np.arange(127, dtype=np.uint8)  # 0x7F is no number
values = 2 * NVFP4.ue4m3_to_fp32(codes)
assert np.array_equal(values, codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)), "decoding is that of E4M3"
changed = codes[NVFP4.fp32_to_ue4m3(values.astype(np.float32)) != codes]
print("codes that encoding gives back as others:", [hex(code) for code in changed])
assert changed.tolist() == list(range(0x78, 0x7E)), "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

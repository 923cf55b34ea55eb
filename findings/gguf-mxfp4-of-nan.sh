#!/usr/bin/env bash
# What: gguf.quants.quantize of gguf 0.19.0 on rows that hold one NaN or one infinity, as MXFP4 and as Q8_0, Q4_0, Q5_1.
# Seen: MXFP4 makes the whole block of 32 zero, for infinity as well: finite, plausible weights. The others give NaN for the block.
# Why a good guess is wrong: a check for NaN after quantizing (or a model that then speaks nonsense) is how broken weights are noticed;
#   in MXFP4 they turn into silence, and 31 good neighbours with them.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "gguf==0.19.0" "numpy==2.2.6"
cat > "$work/show.py" <<'PY'
import importlib.metadata, warnings
import gguf, numpy
from gguf import GGMLQuantizationType as Type
warnings.simplefilter("ignore")
print("gguf", importlib.metadata.version("gguf"))
for bad in (numpy.nan, numpy.inf):
    row = numpy.ones((1, 64), numpy.float32)
    row[0, 3] = bad
    for kind in (Type.MXFP4, Type.Q8_0, Type.Q4_0, Type.Q5_1):
        got = gguf.quants.dequantize(gguf.quants.quantize(row, kind), kind)[0]
        first, second = got[:32], got[32:]
        seen = "zeros" if not first.any() else "NaN" if numpy.isnan(first).any() else "finite"
        print(f"one {bad} among 32 ones, {kind.name}: {seen}; the next block {'as it was' if (abs(second - 1) < 0.01).all() else 'changed'}")
        assert (seen == "zeros") == (kind == Type.MXFP4), "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

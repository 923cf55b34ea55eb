#!/usr/bin/env bash
# What: safetensors 0.8.0: the bytes of save() with a metadata dictionary of several keys, twenty times in one process.
# Seen: the keys stand in another order from call to call, so equal tensors with equal metadata give different files. Without metadata, or
#   with one key, the bytes are equal.
# Why a good guess is wrong: Python dictionaries keep their order and the tensors are laid out by a fixed rule (item size, then name); a
#   checksum of a checkpoint is taken to identify it. Caches keyed by content and reproducible releases miss on every rewrite.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "safetensors==0.8.0" "numpy==2.2.6"
cat > "$work/show.py" <<'PY'
import numpy, safetensors
from safetensors.numpy import save
tensors = {"a": numpy.ones(3, numpy.float32), "b": numpy.ones(2, numpy.float16)}
def distinct(metadata): return len({save(tensors, metadata=metadata) for _ in range(20)})
four = {"format": "pt", "made_by": "x", "date": "y", "source": "z"}
seen = {"none": distinct(None), "one key": distinct({"format": "pt"}), "four keys": distinct(four)}
print("safetensors", safetensors.__version__, "different files of 20:", seen)
assert seen["none"] == seen["one key"] == 1 < seen["four keys"], "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

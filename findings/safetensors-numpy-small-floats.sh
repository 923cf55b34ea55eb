#!/usr/bin/env bash
# What: safetensors.numpy of safetensors 0.8.0 with numpy 2.2.6 and ml-dtypes 0.6.0: what save() has written, read by load() and load_file().
# Seen: bfloat16 is read by load_file() and refused by load() of the same bytes (KeyError). float8_e4m3fn and float8_e5m2 are written with
#   the right names and lengths and read by neither (KeyError, AttributeError): the message is not about the type.
# Why a good guess is wrong: one package writes and reads, the two readers differ in nothing but where the bytes are, and the writer knows
#   the types. The bytes are right: reading the header by hand and viewing them works.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "safetensors==0.8.0" "numpy==2.2.6" "ml-dtypes==0.6.0"
cat > "$work/show.py" <<'PY'
import json, pathlib, sys
import ml_dtypes, numpy, safetensors
from safetensors.numpy import load, load_file, save
print("safetensors", safetensors.__version__, "numpy", numpy.__version__)
path, seen = pathlib.Path(sys.argv[1]), []
def tried(read, what):
    try: return f"read as {read(what)['a'].dtype}"
    except Exception as error: return f"{type(error).__name__}: {error}"
for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
    array = numpy.arange(4).astype(getattr(ml_dtypes, name))
    file = save({"a": array})
    path.write_bytes(file)
    length = int.from_bytes(file[:8], "little")
    entry = json.loads(file[8 : 8 + length])["a"]
    assert numpy.array_equal(numpy.frombuffer(file[8 + length :], array.dtype), array)
    from_bytes, from_file = tried(load, file), tried(load_file, path)
    print(f"{name}: written as {entry['dtype']}; load: {from_bytes}; load_file: {from_file}")
    seen.append((from_bytes.split(":")[0], from_file.split(":")[0]))
assert seen == [("KeyError", "read as bfloat16")] + [("KeyError", "AttributeError")] * 2, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py" "$work/a.safetensors"

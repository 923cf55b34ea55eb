#!/usr/bin/env bash
# What: GGUFWriter.add_array of gguf 0.19.0 with an empty list and with a list of lists.
# Seen: the empty array is not written at all: its key is missing from the file, without an error. Of [[1, 2], [3, 4]] one flat array of
#   four numbers is read back.
# Why a good guess is wrong: GGUF's arrays have a type and a length, and zero is a length; the format knows arrays of arrays. Code that
#   copies metadata from one file to another loses keys (an empty list of added tokens, of stop ids) and shapes.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "gguf==0.19.0" "numpy==2.2.6"
cat > "$work/show.py" <<'PY'
import importlib.metadata, sys
import gguf, numpy
path = sys.argv[1]
writer = gguf.GGUFWriter(path, "llama")
writer.add_array("test.empty", [])
writer.add_array("test.nested", [[1, 2], [3, 4]])
writer.add_array("test.one", [1])
writer.add_tensor("t", numpy.zeros((2, 2), numpy.float32))
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
fields = gguf.GGUFReader(path).fields
kept = [name for name in ("test.empty", "test.nested", "test.one") if name in fields]
nested = fields["test.nested"].contents()
print("gguf", importlib.metadata.version("gguf"), "keys read back:", kept, "nested:", nested)
assert kept == ["test.nested", "test.one"] and nested == [1, 2, 3, 4], "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py" "$work/x.gguf"

#!/usr/bin/env bash
# What: {"type": "string", "pattern": ...} in json_schema.build_regex_from_schema of outlines-core 0.2.14, beside jsonschema 4.26.0.
# Seen: the pattern is put between two quotes as it stands. So "abc" is the whole string, not a part of it; a text that "^.+$" matches
#   may hold a bare backslash or quote, so that what is generated is not JSON; and \n, which JSON has to write as two characters, can only
#   stand there as a raw line end where a class lets it, and not at all as JSON spells it where one character is asked for.
# Why a good guess is wrong: the standard searches a pattern in the value and the regex is one of the value's JSON text; whoever
#   generates by a schema expects at least JSON, and validators take the same schema the other way round.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "outlines_core==0.2.14" "jsonschema==4.26.0"
cat > "$work/show.py" <<'PY'
import importlib.metadata
import json
import re

import jsonschema
from outlines_core import json_schema

def validates(schema, text):
    try:
        jsonschema.validate(json.loads(text), schema)
        return "valid"
    except json.JSONDecodeError:
        return "not JSON"
    except jsonschema.ValidationError:
        return "invalid"

CASES = [  # pattern, text, whether it is generated, what it is
    ("^ab$", '"ab"', True, "valid"), ("ab", '"ab"', True, "valid"), ("ab", '"xaby"', False, "valid"),
    ("^.+$", r'"a\"', True, "not JSON"), ("^[^,]+$", '"a"b"', True, "not JSON"), (r"^\S+$", r'"\d"', True, "not JSON"),
    ("^[^,]$", r'"\n"', False, "valid"), ("^[^,]$", '"\n"', True, "not JSON"),
]
print("outlines_core", importlib.metadata.version("outlines_core"), "jsonschema", importlib.metadata.version("jsonschema"))
for pattern, text, expected, kind in CASES:
    schema = {"type": "string", "pattern": pattern}
    found = re.fullmatch(json_schema.build_regex_from_schema(json.dumps(schema)), text) is not None
    print(f"pattern {pattern}: {text!r} {'is' if found else 'is not'} in the regex and is {validates(schema, text)}")
    assert found == expected and validates(schema, text) == kind, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

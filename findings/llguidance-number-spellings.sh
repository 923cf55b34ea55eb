#!/usr/bin/env bash
# What: JSON numbers under a schema in llguidance 1.9.1: which spellings of a value that satisfies the schema the grammar lets a model write.
# Seen: {"type": "number"} accepts 0.30 and 1e2; with "maximum" or "minimum" the same values must be written 0.3 and 100: trailing zeros
#   and exponents are gone. multipleOf 0.5 accepts 0.5 and 1.0 and not 0.50. const 1.0 accepts 1 alone, type integer -0 and not 1.0;
#   "minimum": 0 takes -0 away.
# Why a good guess is wrong: JSON Schema compares values, and a validator accepts all of these. Bounds read as limits on the value; here
#   they also choose its spelling, so a model that would write 1e2 or 0.30 is pushed to another text, and a recorded answer that validates
#   can be impossible to produce again.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "llguidance==1.9.1" "jsonschema==4.25.1"
cat > "$work/show.py" <<'PY'
import json
import importlib.metadata
import jsonschema, llguidance
class Bytes:
    eos_token_id, bos_token_id, special_token_ids = 256, None, [256]
    tokens = [bytes([i]) for i in range(256)] + [b"<eos>"]
    def __call__(self, text): return list(text.encode() if isinstance(text, str) else text)
tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))
def accepted(schema, text):
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    assert not matcher.is_error(), matcher.get_error()
    return matcher.try_consume_tokens(list(text.encode())) == len(text) and matcher.is_accepting()
number, integer = {"type": "number"}, {"type": "integer"}
CASES = [
    (number, "0.30", True), (number | {"maximum": 0.3}, "0.3", True), (number | {"maximum": 0.3}, "0.30", False),
    (number, "1e2", True), (number | {"maximum": 1000}, "100", True), (number | {"maximum": 1000}, "1e2", False),
    (number | {"multipleOf": 0.5}, "0.5", True), (number | {"multipleOf": 0.5}, "1.0", True), (number | {"multipleOf": 0.5}, "0.50", False),
    ({"const": 1.0}, "1", True), ({"const": 1.0}, "1.0", False),
    (integer, "-0", True), (integer, "1.0", False), (integer | {"minimum": 0}, "-0", False),
]
print("llguidance", importlib.metadata.version("llguidance"), "jsonschema", importlib.metadata.version("jsonschema"))
for schema, text, expected in CASES:
    jsonschema.validate(json.loads(text), schema)  # the value is right in all of them
    found = accepted(schema, text)
    print(f"{json.dumps(schema)}: {text} {'can' if found else 'cannot'} be written")
    assert found == expected, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

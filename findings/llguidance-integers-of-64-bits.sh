#!/usr/bin/env bash
# What: integer bounds of a JSON schema near 2^63 in llguidance 1.9.1.
# Seen: "maximum": 10^19 is accepted and silently becomes 2^63 - 1: greater integers that the schema allows cannot be written. Without a bound
#   any integer can. "minimum": -2^63, the bound that generators write for int64, is refused when the grammar is made; -(2^63 - 1025) works.
# Why a good guess is wrong: {"type": "integer"} alone has no limit, so adding a generous one should change nothing; and the two bounds of
#   int64 look alike, yet one is capped in silence and the other ends the request.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "llguidance==1.9.1"
cat > "$work/show.py" <<'PY'
import json
import importlib.metadata
import llguidance
class Bytes:
    eos_token_id, bos_token_id, special_token_ids = 256, None, [256]
    tokens = [bytes([i]) for i in range(256)] + [b"<eos>"]
    def __call__(self, text): return list(text.encode() if isinstance(text, str) else text)
tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))
def tried(text, **bounds):
    schema = {"type": "integer", **bounds}
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    if matcher.is_error(): return "refused: " + matcher.get_error().splitlines()[0][:60]
    return "written" if matcher.try_consume_tokens(list(text.encode())) == len(text) and matcher.is_accepting() else "not written"
CASES = [
    ("any", str(2**63), {}, "written"),
    ("maximum 10^19", str(2**63 - 1), {"maximum": 10**19}, "written"),
    ("maximum 10^19", str(2**63), {"maximum": 10**19}, "not written"),
    ("minimum -2^63", "1", {"minimum": -(2**63)}, "refused"),
    ("minimum -(2^63 - 1025)", "1", {"minimum": -(2**63 - 1025)}, "written"),
]
print("llguidance", importlib.metadata.version("llguidance"))
for name, text, bounds, expected in CASES:
    found = tried(text, **bounds)
    print(f"{name}: {text} {found}")
    assert found.startswith(expected), "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

#!/usr/bin/env bash
# What: which texts an Index of outlines-core 0.2.14 can reach for a regex with an optional end, by how a vocabulary cuts it.
# Seen: a(bc)? with the tokens a, b, c gives "a" and never "abc"; with bc as one token both. [0-9]+(\.[0-9]+)? has 1.5 as "1", ".5", and
#   not as "1", ".", "5". Where something follows that must come ("," behind the number), all are reached. a|abc and a(bc)* are cut alike.
#   A step into a state that comes right after a complete text and is not complete itself is left out; tokens that pass it in one go stay.
# Why a good guess is wrong: an index says which tokens keep a text within the regex, and that a text is in it does not depend on the cuts.
#   Vocabularies with a token for each digit have no ".5": a number alone can never have a fraction, and nothing says that half of
#   the language is gone.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "outlines_core==0.2.14"
cat > "$work/show.py" <<'PY'
import importlib.metadata
import re

from outlines_core import Index, Vocabulary

END, MOST = 99, 5
def reached(regex, tokens):
    """Every text of at most MOST tokens at whose end the index lets a text end."""
    index = Index(regex, Vocabulary(END, {token: [i] for i, token in enumerate(tokens)}))
    after, finals, found = index.get_transitions(), set(index.get_final_states()), set()
    todo = [(index.get_initial_state(), "", 0)]
    while todo:
        state, text, count = todo.pop()
        found |= {text} if state in finals else set()
        if count < MOST:
            todo += [(next, text + tokens[i], count + 1) for i, next in after.get(state, {}).items() if i != END]
    return found

NUMBER = r"[0-9]+(\.[0-9]+)?"
CASES = [
    ("a(bc)?", ["a", "b", "c"], "abc", False), ("a(bc)?", ["a", "bc"], "abc", True), ("a|abc", ["a", "b", "c"], "abc", False),
    ("a(bc)*", ["a", "b", "c"], "abc", False), ("abc|abd", ["a", "b", "c", "d"], "abc", True),
    (NUMBER, ["1", ".", "5"], "1.5", False), (NUMBER, ["1", ".5"], "1.5", True), (NUMBER + ",", ["1", ".", "5", ","], "1.5,", True),
]
print("outlines_core", importlib.metadata.version("outlines_core"))
for regex, tokens, text, expected in CASES:
    assert re.fullmatch(regex, text)  # it belongs to the language in every case
    found = text in reached(regex, tokens)
    print(f"{regex} with {' '.join(tokens)}: {text} is {'reached' if found else 'never reached'}")
    assert found == expected, "the behaviour has changed"
PY
"$work/venv/bin/python" "$work/show.py"

#!/usr/bin/env bash
# What: jsonschema 4.26.0 in an environment that also has rfc3987-syntax 1.1.0 (its extra `format-nongpl` brings it, schemathesis too).
# Seen: `import jsonschema` builds 39 Lark parsers, most for one rule of RFC 3987 each, and takes 20 times the processor time of the same
#   import without that package. No format is checked, no schema seen: jsonschema imports every package of its format checkers
#   when it is imported itself, and rfc3987-syntax makes all its parsers when it is imported.
# Why a good guess is wrong: format checks are off unless a FormatChecker is passed, and an optional package that nobody asks for should
#   cost nothing. A server or a test suite pays for it at every start, because another package installed the extra.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jsonschema==4.26.0 lark==1.3.1
cat > "$work/count.py" <<'PY'
import time
import lark
made, begin = [], lark.Lark.__init__
def counted(self, *args, **options):
    made.append(1)
    begin(self, *args, **options)
lark.Lark.__init__ = counted
start = time.process_time()
import jsonschema
print(len(made), round(time.process_time() - start, 2))
PY
read -r alone seconds < <("$work/venv/bin/python" "$work/count.py")
echo "jsonschema alone: $alone parsers, $seconds s of processor time"
"$work/venv/bin/pip" install -q rfc3987-syntax==1.1.0
read -r beside seconds < <("$work/venv/bin/python" "$work/count.py")
echo "beside rfc3987-syntax: $beside parsers, $seconds s of processor time"
[ "$alone" = 0 ] && [ "$beside" = 39 ]

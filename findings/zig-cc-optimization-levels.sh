#!/usr/bin/env bash
# What: optimization levels of `zig cc`, the C compiler of the PyPI package ziglang, 0.17.1 (clang 22.1.8).
# Seen: it knows three levels. -O1, -O2, -O3 and -Ofast give one and the same object file (clang's -O2; the fast mathematics of
#   -Ofast are dropped without a warning, -ffast-math in so many words is heeded), -Os and -Oz another, -O0 and -Og a third.
# Why a good guess is wrong: everything else on the command line means what it means to clang, and `zig clang` beside it has all levels:
#   there -O1 differs from -O3, and -Ofast turns the sum below into vector additions. A build that raises -O2 to -O3 to see what it brings
#   measures the same program twice.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache
zig=("$work/venv/bin/python" -m ziglang)
cat > "$work/sum.c" <<'C'
float sum(const float *x, int n) { float s = 0; for (int i = 0; i < n; i++) s += x[i] * (float)i; return s; }
C
object() { # frontend, flags: a digest of the object file
  "${zig[@]}" "$1" "${@:2}" -target x86_64-linux-gnu -c -o "$work/out.o" "$work/sum.c" 2>/dev/null
  sha256sum < "$work/out.o" | cut -c1-12
}
declare -A cc
for level in O0 Og O1 O2 O3 Ofast Os Oz; do cc[$level]=$(object cc -$level); echo "zig cc -$level: ${cc[$level]}"; done
[ "${cc[O1]}" = "${cc[O2]}" ] && [ "${cc[O2]}" = "${cc[O3]}" ] && [ "${cc[O3]}" = "${cc[Ofast]}" ]
[ "${cc[Os]}" = "${cc[Oz]}" ] && [ "${cc[O0]}" = "${cc[Og]}" ] && [ "${cc[Os]}" != "${cc[O2]}" ] && [ "${cc[O0]}" != "${cc[O2]}" ]
fast=$(object cc -O2 -ffast-math); echo "zig cc -O2 -ffast-math: $fast"
[ "$fast" != "${cc[Ofast]}" ]
one=$(object clang -O1) three=$(object clang -O3); echo "zig clang -O1, -O3: $one $three"
[ "$one" != "$three" ]

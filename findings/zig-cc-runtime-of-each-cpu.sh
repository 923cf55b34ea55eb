#!/usr/bin/env bash
# What: what `zig cc` of the PyPI package ziglang 0.17.1 builds when it links a shared library of one small function.
# Seen: compiler-rt, from source, once for each -mcpu (5 s of processor time each), though the function calls nothing of it. With -nostdlib
#   it is not built; adding -lc to -nostdlib brings the C library back, with the symbol versions of the glibc that -target names, and a
#   library that needs compiler-rt is then refused by the linker (-Wl,-z,defs) instead of failing when it is loaded.
# Why a good guess is wrong: other clangs bring compiler-rt built, one for all CPUs of an architecture, so -mcpu costs nothing; and -nostdlib
#   is read as "no C library", while the order "-nostdlib -lc" means "the C library alone".
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache
cat > "$work/f.c" <<'C'
#include <string.h>
#include <pthread.h>
int f(char *to, const char *from, int n, pthread_t other) { memcpy(to, from, n); return pthread_equal(pthread_self(), other); }
C
echo 'unsigned __int128 g(unsigned __int128 a, unsigned __int128 b) { return a / b; }' > "$work/g.c"
library() { "$work/venv/bin/python" -m ziglang cc -target x86_64-linux-gnu.2.17 -O2 -fPIC -shared "$@" -lpthread 2>&1; }
runtimes() { find "$work/cache" -name 'libcompiler_rt.a' | wc -l; }

library -mcpu=x86_64_v2 -nostdlib -Wl,-z,defs -o "$work/bare.so" "$work/f.c" -lc
echo "-nostdlib -lc: $(runtimes) runtimes built"
[ "$(runtimes)" = 0 ]
grep -aq GLIBC_2.14 "$work/bare.so"  # memcpy, with its version
refused=$(library -mcpu=x86_64_v2 -nostdlib -Wl,-z,defs -o "$work/g.so" "$work/g.c" -lc || true)
echo "$refused" | grep -m1 "undefined symbol: __udivti3"
for cpu in x86_64_v2 x86_64_v3; do
  library -mcpu=$cpu -o "$work/whole.so" "$work/f.c"
  echo "-mcpu=$cpu: $(runtimes) runtimes built"
done
[ "$(runtimes)" = 2 ]

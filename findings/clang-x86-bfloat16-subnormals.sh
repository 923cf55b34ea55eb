#!/usr/bin/env bash
# What: (__bf16)x of a float x in C, by zig cc of ziglang 0.17.1 (clang 22.1.8), -O2, for x86-64 CPUs without and with AVX512_BF16.
# Seen: with AVX512_BF16 (znver4, sapphirerapids) it is vcvtneps2bf16, which takes subnormals for zero and writes none, whatever MXCSR
#   says: the float 0x00010000 becomes 0. The same cast of a constant is folded to the subnormal 0x0001: two values in one program.
#   Without AVX512_BF16 (x86-64-v4, haswell) it is a call of __truncsfbf2, which zig's compiler-rt does not have: no program is linked.
# Why a good guess is wrong: a cast to a narrower float is IEEE rounding everywhere else (f16 keeps its subnormals on the same CPUs, clang's
#   GPU targets and compiler-rt keep bfloat16's), and -mcpu is to change how fast a program is. Scales of weights reach down there.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
zig=("$work/venv/bin/python" -m ziglang)
cat > "$work/cast.c" <<'C'
#include <stdio.h>
typedef union { float f; unsigned u; } F;
typedef union { __bf16 b; unsigned short u; } B;
__attribute__((noinline)) static unsigned narrow(float x) { return (B){.b = (__bf16)x}.u; }
int main(int count, char **names) {
  const F folded = {.u = 0x00010000};
  volatile unsigned bits = 0x00010000;
  const F read = {.u = bits};
  printf("%04x %04x\n", narrow(read.f), (unsigned)(B){.b = (__bf16)folded.f}.u);
}
C
"${zig[@]}" clang --version | head -1
for cpu in haswell x86_64_v4 znver4 sapphirerapids; do
  "${zig[@]}" cc -O2 -target x86_64-linux-musl -mcpu=$cpu -S -o "$work/cast.s" "$work/cast.c" 2> /dev/null
  made=$(grep -oE 'vcvtneps2bf16|__truncsfbf2' "$work/cast.s" | sort -u | tr '\n' ' ')
  case $cpu in znver4 | sapphirerapids) expected="vcvtneps2bf16 " ;; *) expected="__truncsfbf2 " ;; esac
  echo "$cpu: $made"
  [ "$made" = "$expected" ]
done
linked() { "${zig[@]}" cc -O2 -target x86_64-linux-musl -mcpu=$1 -o "$work/cast" "$work/cast.c" > "$work/said" 2>&1; }
! linked haswell
grep -m1 'undefined symbol: __truncsfbf2' "$work/said"
if grep -q avx512_bf16 /proc/cpuinfo; then
  linked sapphirerapids
  seen=$("$work/cast")
  echo "on this CPU, of a value that is read and of a constant: $seen"
  [ "$seen" = "0000 0001" ]
fi

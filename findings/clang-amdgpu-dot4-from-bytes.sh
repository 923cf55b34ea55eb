#!/usr/bin/env bash
# What: the sum of four products of 8-bit integers for gfx1100, written as a loop in plain C, clang 22.1.8 of ziglang 0.17.1.
# Seen: v_dot4 appears where the bytes are shifted out of 32-bit words (signed or unsigned), never where the same bytes are read through
#   byte pointers: those become four loads of a byte each and four multiplications. Signed times unsigned never becomes one from plain
#   C, although the instruction (v_dot4_i32_iu8) does it: __builtin_amdgcn_sudot4 must be written.
# Why a good guess is wrong: the pointer form is the easier one to recognise, and vectorizers of CPUs prefer it; here writing it in the
#   clearest way costs a factor of four or more.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
clang=("$work/venv/bin/python" -m ziglang clang)
cat > "$work/dot.hip" <<'HIP'
#define KERNEL extern "C" __attribute__((global))
typedef unsigned char u8;
typedef signed char i8;
KERNEL void byte_pointers(int *o, const i8 *a, const i8 *b) {
  int s = 0;
  for (int i = 0; i < 4; i++) s += a[i] * b[i];
  o[0] = s;
}
KERNEL void words(int *o, const int *a, const int *b) {
  int x = a[0], y = b[0], s = 0;
  for (int i = 0; i < 4; i++) s += (i8)(x >> 8 * i) * (i8)(y >> 8 * i);
  o[0] = s;
}
KERNEL void words_mixed_signs(int *o, const int *a, const int *b) {
  int x = a[0], y = b[0], s = 0;
  for (int i = 0; i < 4; i++) s += (u8)(x >> 8 * i) * (i8)(y >> 8 * i);
  o[0] = s;
}
KERNEL void builtin_mixed_signs(int *o, const int *a, const int *b) { o[0] = __builtin_amdgcn_sudot4(false, a[0], true, b[0], 0, false); }
HIP
"${clang[@]}" --version | head -1
"${clang[@]}" -O3 -x hip --cuda-device-only -nogpulib -nogpuinc --offload-arch=gfx1100 -S -o "$work/out.s" "$work/dot.hip"
seen=""
for name in byte_pointers words words_mixed_signs builtin_mixed_signs; do
  count=$(sed -n "/^$name:/,/s_endpgm/p" "$work/out.s" | grep -c v_dot4 || true)
  echo "$name: $count v_dot4"
  seen+=" $count"
done
[ "$seen" = " 0 1 0 1" ]

#!/usr/bin/env bash
# What: #if __AMDGCN_WAVEFRONT_SIZE__ == 64 in HIP code, clang 22.1.8 of ziglang 0.17.1, for gfx906 (waves of 64) and gfx1100 (of 32).
# Seen: the macro is not defined any more. In #if it reads as 0, so code for 64 and code for 32 are both left out, without a word at the
#   default warnings. __builtin_amdgcn_wavefrontsize() knows, and may even size a local array.
# Why a good guess is wrong: kernels written up to LLVM 19 choose by this macro; with the usual "#if == 64 ... #else" gfx906 now silently
#   takes the code for waves of 32: sums over half a wave.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
clang=("$work/venv/bin/python" -m ziglang clang)
cat > "$work/waves.hip" <<'HIP'
#define KERNEL extern "C" __attribute__((global))
#if __AMDGCN_WAVEFRONT_SIZE__ == 64
KERNEL void macro_says_64(int *p) { *p = 1; }
#elif __AMDGCN_WAVEFRONT_SIZE__ == 32
KERNEL void macro_says_32(int *p) { *p = 1; }
#else
KERNEL void macro_says_neither(int *p) { *p = 1; }
#endif
KERNEL void builtin(int *p) {
  int sized[__builtin_amdgcn_wavefrontsize()];
  *p = sizeof(sized) / sizeof(int);
}
HIP
"${clang[@]}" --version | head -1
for pair in gfx906:64 gfx1100:32; do
  "${clang[@]}" -O3 -x hip --cuda-device-only -nogpulib -nogpuinc --offload-arch=${pair%:*} -S -o "$work/out.s" "$work/waves.hip" 2> "$work/said"
  macro=$(grep -om1 "macro_says_[a-z0-9]*" "$work/out.s")
  stored=$(sed -n '/^builtin:/,/s_endpgm/s/.*v_mov_b32[a-z0-9_]* v[0-9]*, \(64\|32\|0x40\|0x20\)$/\1/p' "$work/out.s" | sed 's/0x40/64/; s/0x20/32/')
  echo "${pair%:*}: $macro, the builtin says $stored, $(wc -l < "$work/said") lines of warnings"
  [ "$macro $stored $(wc -l < "$work/said")" = "macro_says_neither ${pair#*:} 0" ]
done

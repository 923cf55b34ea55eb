#!/usr/bin/env bash
# What: a[0] * a[1] * a[2] of __bf16 in one HIP source, clang 22.1.8 of ziglang 0.17.1, for gfx1100, gfx942 and gfx1201 and as CUDA for sm_90.
# Seen: AMD's targets round after each product; sm_90, which has multiplication of bfloat16 in hardware, computes the whole expression in
#   float and rounds once. With a name for the first product, or a cast, sm_90 rounds twice as well, and _Float16 does so everywhere.
# Why a good guess is wrong: no flag, pragma or contraction is involved: the front end gives each target excess precision of its own for
#   __bf16, not for _Float16, and giving a value a name is not expected to change it. Kernels that are compared bit for bit across
#   vendors have to widen to float and round by hand.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
clang=("$work/venv/bin/python" -m ziglang clang)
cat > "$work/products.hip" <<'HIP'
#define KERNEL extern "C" __attribute__((global))
KERNEL void nested(__bf16 *o, const __bf16 *a) { o[0] = a[0] * a[1] * a[2]; }
KERNEL void named(__bf16 *o, const __bf16 *a) { __bf16 first = a[0] * a[1]; o[0] = first * a[2]; }
KERNEL void half(_Float16 *o, const _Float16 *a) { o[0] = a[0] * a[1] * a[2]; }
HIP
types() { # arguments of clang: the types in which each kernel multiplies
  "${clang[@]}" -O3 -ffp-contract=off "$@" -S -emit-llvm -o "$work/out.ll" "$work/products.hip"
  for kernel in nested named half; do
    echo -n "$kernel $(sed -n "/define .*@$kernel(/,/^}/p" "$work/out.ll" | grep -oE '= fmul [a-z]+' | cut -c8- | tr '\n' ' ')"
  done
}
"${clang[@]}" --version | head -1
for arch in gfx1100 gfx942 gfx1201 sm_90; do
  case $arch in
    sm_*) seen=$(types -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-path=/nonexistent -Wno-unknown-cuda-version \
                 --cuda-gpu-arch=$arch -Xclang -target-feature -Xclang +ptx80)
          nested="float float" ;;
    *) seen=$(types -x hip --cuda-device-only -nogpulib -nogpuinc --offload-arch=$arch); nested="bfloat bfloat" ;;
  esac
  echo "$arch: products in $seen"
  [ "$seen" = "nested $nested named bfloat bfloat half half half " ]
done

#!/usr/bin/env bash
# What: __builtin_sinf and __builtin_cosf in HIP code without a library, clang 22.1.8 of ziglang 0.17.1, for gfx906, gfx1030, gfx1100, gfx1201.
# Seen: at -O3 without any fast-math flag each is a multiplication by the float 0.15915494 and v_sin_f32 or v_cos_f32, which take turns:
#   no reduction of the argument. The product rounds to 24 bits, so that an angle of 100,000 radians (the first pair of a rotary
#   embedding at that position) is up to 0.007 radians off before the sine is taken, and one of 1,000,000 up to 0.09.
# Why a good guess is wrong: next to it 1.0f / x and __builtin_sqrtf are rounded correctly in ten instructions, as C asks, and exp2 is
#   scaled around its subnormals; whoever saw those expects a sine as careful, or an error. sinf of the HIP headers reduces: it is a library's.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1" "numpy==2.4.6"
clang=("$work/venv/bin/python" -m ziglang clang)
cat > "$work/sine.hip" <<'HIP'
#define KERNEL extern "C" __attribute__((global))
KERNEL void sine(float *o, const float *x) { o[__builtin_amdgcn_workitem_id_x()] = __builtin_sinf(x[__builtin_amdgcn_workitem_id_x()]); }
KERNEL void cosine(float *o, const float *x) { o[__builtin_amdgcn_workitem_id_x()] = __builtin_cosf(x[__builtin_amdgcn_workitem_id_x()]); }
KERNEL void root(float *o, const float *x) { o[__builtin_amdgcn_workitem_id_x()] = __builtin_sqrtf(x[__builtin_amdgcn_workitem_id_x()]); }
HIP
"${clang[@]}" --version | head -1
for arch in gfx906 gfx1030 gfx1100 gfx1201; do
  "${clang[@]}" -O3 -x hip --cuda-device-only -nogpulib -nogpuinc --offload-arch=$arch -S -o "$work/out.s" "$work/sine.hip"
  for kernel in sine cosine; do
    made=$(sed -n "/^$kernel:/,/s_endpgm/p" "$work/out.s" | grep -oE 'v_(mul_f32.*0\.15915494|mul_f32.*0x3e22f983|sin_f32|cos_f32|fract_f32|fma_f32|trig_preop)' |
      sed 's/v_mul.*/mul/; s/v_//' | tr '\n' ' ')
    echo "$arch $kernel: $made"
    [ "$made" = "mul ${kernel:0:3}_f32 " ]
  done
  count=$(sed -n '/^root:/,/s_endpgm/p' "$work/out.s" | grep -c '^\s*v_')
  echo "$arch square root: $count vector instructions"
  [ "$count" -ge 10 ]
done
"$work/venv/bin/python" - <<'PY'
import numpy as np

for angle, least in ((1e3, 1e-5), (1e5, 5e-3), (1e6, 5e-2)):
    angles = np.arange(angle - 500, angle).astype(np.float32)
    turns = angles * np.float32(0.15915494309)  # what the instruction is given
    off = np.abs(np.float64(turns) * 2 * np.pi - np.float64(angles)).max()
    print(f"angles up to {angle:.0f}: the product is off by up to {off:.5f} radians")
    assert off > least
PY

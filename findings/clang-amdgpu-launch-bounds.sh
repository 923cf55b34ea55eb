#!/usr/bin/env bash
# What: __attribute__((launch_bounds(256))) on a HIP kernel, clang 22.1.8 of ziglang 0.17.1, for gfx906 and gfx1100.
# Seen: accepted without a warning and without effect: the code object still promises groups of 1,024 threads, and registers are
#   allotted for them. amdgpu_flat_work_group_size(1, 256) is heeded.
# Why a good guess is wrong: __launch_bounds__(256) of the HIP headers is what every example writes and CUDA's macro is this attribute.
#   Without those headers one spells the attribute out; that form belongs to CUDA alone, and nothing says so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
clang=("$work/venv/bin/python" -m ziglang clang)
cat > "$work/bounds.hip" <<'HIP'
#define KERNEL extern "C" __attribute__((global))
KERNEL __attribute__((launch_bounds(256))) void cuda_attribute(float *p) { p[__builtin_amdgcn_workitem_id_x()] = 1; }
KERNEL __attribute__((amdgpu_flat_work_group_size(1, 256))) void amd_attribute(float *p) { p[__builtin_amdgcn_workitem_id_x()] = 1; }
HIP
"${clang[@]}" --version | head -1
for arch in gfx906 gfx1100; do
  "${clang[@]}" -O3 -x hip --cuda-device-only -nogpulib -nogpuinc -Wall -Werror --offload-arch=$arch -S -o "$work/out.s" "$work/bounds.hip"
  seen=$(sed -n 's/^ *\.max_flat_workgroup_size: *//p' "$work/out.s" | tr '\n' ' ')
  echo "$arch: largest group of cuda_attribute, amd_attribute: $seen"
  [ "$seen" = "1024 256 " ]
done

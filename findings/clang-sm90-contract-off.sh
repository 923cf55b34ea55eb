#!/usr/bin/env bash
# What: "#pragma clang fp contract(off)" around a multiply and an add, clang 22.1.8 of ziglang 0.17.1, one source as HIP for gfx1100 and
#   as CUDA for sm_90.
# Seen: gfx1100 gets a multiply and an add, sm_90 one fused instruction: the pragma is ignored there. With
#   -ffp-contract=fast-honor-pragmas (or =on) both obey it.
# Why a good guess is wrong: the pragma is the documented way to keep two roundings and holds on every other target; CUDA's default, fast,
#   outranks it. A source proven bit for bit on one vendor's cards rounds differently on the other's.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1"
clang=("$work/venv/bin/python" -m ziglang clang)
cat > "$work/two.hip" <<'HIP'
extern "C" __attribute__((global)) void two_roundings(float *p, float a, float b) {
#pragma clang fp contract(off)
  float product = a * b;
  p[0] = product + p[1];
}
HIP
amd=(-O3 -x hip --cuda-device-only -nogpulib -nogpuinc --offload-arch=gfx1100)
nvidia=(-O3 -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-path=/nonexistent -Wno-unknown-cuda-version --cuda-gpu-arch=sm_90
  -Xclang -target-feature -Xclang +ptx80)
fused() { "${clang[@]}" "$@" -S -o - "$work/two.hip" | grep -cE 'fma\.|v_fma|v_fmac' || true; }
"${clang[@]}" --version | head -1
seen="$(fused "${amd[@]}") $(fused "${nvidia[@]}") $(fused "${nvidia[@]}" -ffp-contract=fast-honor-pragmas) $(fused "${nvidia[@]}" -ffp-contract=on)"
echo "fused instructions on gfx1100, sm_90, sm_90 with fast-honor-pragmas, with on: $seen"
[ "$seen" = "0 1 0 0" ]

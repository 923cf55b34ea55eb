#!/usr/bin/env bash
# What: ptxas of PyPI's nvidia-cuda-nvcc-cu12 12.9.86 and nvidia-cuda-nvcc 13.0.88: a byte stored out of a 16-bit register.
# Seen: after `cvt.rn.f16.f32 %rs1, %f1` the store `st.global.b8 [p], %rs1` does not store the low byte of the half. ptxas puts
#   F2I.U8.F16.TRUNC before it: the half is rounded to a whole number and that is stored, 0 for all below 1. Its high byte, by `shr.u16`
#   into another register, is right. Where the same bits came from a load, no such instruction appears. sm_80, sm_90, -O0 to -O3.
#   The compiler in a driver did the same: an H200 stored those zeros. ptxas 13.5.37 stores the byte.
# Why a good guess is wrong: .b8, .b16 and .b32 are types without a meaning in PTX, a store takes the low bits of a wider register, and
#   nothing in `st.b8` asks for a conversion. clang writes exactly this for p[0] = bits, p[1] = bits >> 8 with the bits of a half.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
for release in "nvidia-cuda-nvcc-cu12==12.9.86" "nvidia-cuda-nvcc==13.0.88" "nvidia-cuda-nvcc==13.5.37"; do
  python3 -m venv "$work/$release"
  "$work/$release/bin/pip" install -q "$release"
done
"$work/nvidia-cuda-nvcc==13.5.37/bin/pip" install -q "nvidia-cuda-nvdisasm==13.5.37"
nvdisasm=$(find "$work" -name nvdisasm -type f)

kernel() { # architecture, what makes %rs1
  cat <<PTX
.version 8.0
.target $1
.address_size 64
.visible .entry k(.param .u64 from, .param .u64 to) {
  .reg .b64 %rd<3>; .reg .b16 %rs<3>; .reg .f32 %f<2>;
  ld.param.u64 %rd1, [from]; ld.param.u64 %rd2, [to];
  $2
  shr.u16 %rs2, %rs1, 8;
  st.global.b8 [%rd2], %rs1;
  st.global.b8 [%rd2+1], %rs2;
  ret;
}
PTX
}
half='ld.global.f32 %f1, [%rd1]; cvt.rn.f16.f32 %rs1, %f1;'
loaded='ld.global.u16 %rs1, [%rd1];'
for ptxas in $(find "$work" -name ptxas -type f | sort); do
  version=$("$ptxas" --version | grep -o 'V[0-9.]*$')
  case $version in V13.5.*) expected=0 ;; *) expected=1 ;; esac
  for arch in sm_80 sm_90; do
    for level in 0 3; do
      for name in half loaded; do
        kernel $arch "${!name}" > "$work/$name.ptx"
        "$ptxas" -O$level -arch=$arch -o "$work/$name.cubin" "$work/$name.ptx"
        "$nvdisasm" -c "$work/$name.cubin" > "$work/$name.sass" 2>/dev/null
        [ "$(grep -c STG.E.U8 "$work/$name.sass")" = 2 ]
      done
      found=$(grep -c 'F2I.U8.F16.TRUNC' "$work/half.sass" || true)
      echo "$version $arch -O$level: $found F2I.U8.F16.TRUNC before the byte of a half, $(grep -c F2I "$work/loaded.sass" || true) F2I before a loaded one's"
      [ "$found" = $expected ]
      [ "$(grep -c F2I "$work/loaded.sass" || true)" = 0 ]
    done
  done
done

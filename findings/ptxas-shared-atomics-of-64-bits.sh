#!/usr/bin/env bash
# What: ptxas 13.5.37 on atom.shared.add of 32 and of 64 bits for sm_90, whose returned value nobody uses.
# Seen: one instruction for 32 bits (ATOMS.ADD); for 64 bits a loop around ATOMS.CAST.SPIN.64, a compare and swap, although
#   the same addition in global memory is one (REDG.E.ADD.64).
# Why a good guess is wrong: PTX has atom.add.u64 for .shared and .global alike since sm_20, L2 adds 64 bits at once, and shared memory is
#   the faster one. A histogram of 64-bit counters in shared memory that a whole block meets in one bin takes a round of the loop for every
#   lane: choosing one of 248,320 tokens by such counters took 2.9 ms on an H200, by a short list 0.2.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "nvidia-cuda-nvcc==13.5.37" "nvidia-cuda-nvdisasm==13.5.37"
bin=$(dirname "$(find "$work/venv" -name ptxas -type f | head -1)")
disassembler=$(find "$work/venv" -name nvdisasm -type f | head -1)
cat > "$work/adds.ptx" << 'PTX'
.version 8.0
.target sm_90
.address_size 64
.visible .entry shared32(.param .u64 p) {
  .reg .u32 %r<4>;
  .shared .align 4 .b32 bins[256];
  ld.param.u32 %r0, [p];
  shl.b32 %r1, %r0, 2;
  mov.u32 %r2, bins;
  add.u32 %r2, %r2, %r1;
  atom.shared.add.u32 %r3, [%r2], 5;
  ret;
}
.visible .entry shared64(.param .u64 p) {
  .reg .u32 %r<4>;
  .reg .u64 %d<2>;
  .shared .align 8 .b64 wide[256];
  ld.param.u32 %r0, [p];
  shl.b32 %r1, %r0, 3;
  mov.u32 %r2, wide;
  add.u32 %r2, %r2, %r1;
  atom.shared.add.u64 %d0, [%r2], 5;
  ret;
}
.visible .entry global64(.param .u64 p) {
  .reg .u64 %d<3>;
  ld.param.u64 %d0, [p];
  atom.global.add.u64 %d1, [%d0], 5;
  ret;
}
PTX
"$bin/ptxas" --version | tail -1
"$bin/ptxas" -arch=sm_90 "$work/adds.ptx" -o "$work/adds.cubin"
"$disassembler" -c "$work/adds.cubin" > "$work/adds.sass"
of() { # the atomic instructions of a kernel
  awk -v name=".text.$1:" '/^\.text\./ {on = $1 == name} on' "$work/adds.sass" | grep -oE '(ATOMS?|REDG?)(\.[A-Z0-9]+)+' | sort -u | tr '\n' ' '
}
echo "shared, 32 bits: $(of shared32)"
echo "shared, 64 bits: $(of shared64)"
echo "global, 64 bits: $(of global64)"
[[ "$(of shared64)" == *CAST.SPIN.64* && "$(of shared32)" != *CAST* && "$(of global64)" != *CAST* ]]

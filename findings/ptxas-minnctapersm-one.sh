#!/usr/bin/env bash
# What: ptxas of PyPI's nvidia-cuda-nvcc-cu12 12.9.86 and nvidia-cuda-nvcc 13.0.88, 13.5.37: `.minnctapersm 1` beside `.maxntid 256`.
# Seen: a loop of 16 loads and 16 multiply-adds gets 31 or 32 registers with .maxntid alone, and 104 with `.minnctapersm 1` added, for
#   sm_80 and sm_90; 39 and 104 for sm_86. Without the word ptxas keeps to the registers that let a multiprocessor be full (65,536 / 2,048
#   threads = 32, on sm_86 65,536 / 1,536 = 42); with it the limit is that of one block, and the loop keeps more loads on their way.
# Why a good guess is wrong: at least one block a multiprocessor is what every kernel that can be launched has; a minimum that is always
#   met reads as if it said nothing, and a minimum of blocks as if it could only lower the number of registers.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
for release in "nvidia-cuda-nvcc-cu12==12.9.86" "nvidia-cuda-nvcc==13.0.88" "nvidia-cuda-nvcc==13.5.37"; do
  python3 -m venv "$work/$release"
  "$work/$release/bin/pip" install -q "$release"
done
kernel() { # architecture, directive
  python3 - "$1" "$2" <<'PY'
import sys
arch, directive, n = *sys.argv[1:], 16
lines = [f".version 8.0\n.target {arch}\n.address_size 64\n.visible .entry k(.param .u64 from, .param .u64 to)"]
lines += [".maxntid 256, 1, 1", directive, "{", f".reg .b64 %rd<4>; .reg .f32 %f<{2 * n}>; .reg .pred %p; .reg .b32 %r<3>;"]
lines += ["ld.param.u64 %rd1, [from]; ld.param.u64 %rd2, [to]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd3, %r1, 4;"]
lines += ["add.s64 %rd1, %rd1, %rd3; mov.u32 %r2, 0;", *(f"mov.f32 %f{i}, 0f00000000;" for i in range(n)), "loop:"]
lines += [f"ld.global.f32 %f{n + i}, [%rd1+{4096 * i}];" for i in range(n)] + ["bar.sync 0;"]
lines += [f"fma.rn.f32 %f{i}, %f{n + i}, %f{n + (i * 7 + 1) % n}, %f{i};" for i in range(n)]
lines += [f"add.s64 %rd1, %rd1, {4096 * n}; add.u32 %r2, %r2, 1; setp.lt.u32 %p, %r2, 100; @%p bra loop;"]
lines += [*(f"add.f32 %f0, %f0, %f{i};" for i in range(1, n)), "st.global.f32 [%rd2], %f0; ret; }"]
print("\n".join(lines))
PY
}
registers() { # ptxas, architecture, directive
  kernel "$2" "$3" > "$work/k.ptx"
  "$1" -v -arch="$2" -o "$work/k.cubin" "$work/k.ptx" 2>&1 | grep -o 'Used [0-9]* registers' | grep -o '[0-9]*'
}
for ptxas in $(find "$work" -name ptxas -type f | sort); do
  version=$("$ptxas" --version | grep -o 'V[0-9.]*$')
  for arch in sm_80 sm_86 sm_90; do
    without=$(registers "$ptxas" $arch "")
    with=$(registers "$ptxas" $arch ".minnctapersm 1")
    echo "$version $arch, .maxntid 256: $without registers; with .minnctapersm 1: $with"
    [ "$without" -le 42 ] && [ "$with" -ge 60 ]
  done
done

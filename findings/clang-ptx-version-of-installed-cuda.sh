#!/usr/bin/env bash
# What: PTX for sm_90 by clang 22.1.8 of ziglang 0.17.1, asked for +ptx80, with a CUDA toolkit on the machine and without one.
# Seen: ".version 8.0" without a toolkit; with headers of CUDA 12.8 found, ".version 8.7", although nothing of them is included
#   (-nocudainc -nocudalib) and +ptx80 was asked for.
# Why a good guess is wrong: the feature names the version that one wants and the flags say that no toolkit is used, so the same command
#   seems to give the same PTX everywhere. What one builds on a machine with a newer toolkit is refused by older drivers elsewhere.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "ziglang==0.17.1" "nvidia-cuda-nvcc-cu12==12.8.93" "nvidia-cuda-runtime-cu12==12.8.90"
clang=("$work/venv/bin/python" -m ziglang clang)
packages=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia
mkdir "$work/cuda"  # the wheels' folders, laid out as an installed toolkit
cp -r "$packages/cuda_nvcc/." "$packages/cuda_runtime/include" "$work/cuda"
cp "$packages/cuda_runtime/include/"* "$work/cuda/include/" 2> /dev/null || true
echo 'extern "C" __attribute__((global)) void one(float *p) { *p = 1; }' > "$work/one.cu"
version() {
  "${clang[@]}" -O3 -x cuda --cuda-device-only -nocudainc -nocudalib -Wno-unknown-cuda-version --cuda-gpu-arch=sm_90 \
    -Xclang -target-feature -Xclang +ptx80 --cuda-path="$1" -S -o - "$work/one.cu" | sed -n 's/^\.version //p'
}
"${clang[@]}" --version | head -1
seen="$(version /nonexistent) $(version "$work/cuda")"
echo "PTX version without a toolkit, with the headers of CUDA 12.8: $seen"
[ "$seen" = "8.0 8.7" ]

"""The C loaders that follow from the declarations: compiled, they must equal numpy bit for bit, for C and for HIP."""

import ctypes
import subprocess

import numpy as np
import pytest

from hfc.backend.lanes.elements import element_source
from hfc.backend.lanes.kv_rows import row_source
from hfc.base.zig import compile_c, zig_program
from hfc.formats import FORMATS, KV_FORMATS

SCALAR_KV = sorted(name for name, form in KV_FORMATS.items() if form.scalar)  # the others: test_kv_formats.py

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wcast-align", "-Wstrict-aliasing", "-Werror"]

CONVERSIONS = """
#include <stdint.h>
#include <string.h>
static float hfc_bits_to_f32(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static float hfc_bf16_to_f32(uint16_t bits) { return hfc_bits_to_f32((uint32_t)bits << 16); }
static float hfc_f16_to_f32(uint16_t bits) { _Float16 x; memcpy(&x, &bits, 2); return (float)x; }
static uint16_t hfc_f32_to_f16(float x) { _Float16 h = (_Float16)x; uint16_t bits; memcpy(&bits, &h, 2); return bits; }
"""

HIP_CONVERSIONS = """
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
__device__ inline float hfc_bits_to_f32(uint32_t bits) { return __builtin_bit_cast(float, bits); }
__device__ inline float hfc_bf16_to_f32(uint16_t bits) { return hfc_bits_to_f32((uint32_t)bits << 16); }
__device__ inline float hfc_f16_to_f32(uint16_t bits) { return (float)__builtin_bit_cast(_Float16, bits); }
__device__ inline uint32_t hfc_f32_to_bits(float x) { return __builtin_bit_cast(uint32_t, x); }
__device__ inline float hfc_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
__device__ inline uint16_t hfc_f32_to_f16(float x) { return __builtin_bit_cast(uint16_t, (_Float16)x); }
"""


def weight_entry(name: str) -> str:
    form = FORMATS[name]
    return element_source(form, "static") + (
        f"void read_{name}(const uint8_t* raw, float* out, int blocks) {{\n"
        f"  for (int b = 0; b < blocks; ++b)\n"
        f"    for (int i = 0; i < {form.block}; ++i)\n"
        f"      out[b * {form.block} + i] = hfc_{name}_at(raw + b * {form.block_bytes}, i);\n}}\n"
    )


def kv_entry(name: str) -> str:
    form = KV_FORMATS[name]
    return row_source(form, "static") + (
        f"void kv_{name}(const float* x, uint8_t* row, float* out, int head) {{\n"
        f"  for (int d = 0; d < head; ++d) hfc_kv_{name}_put(row, d, x[d]);\n"
        f"  for (int d = 0; d < head; ++d) out[d] = hfc_kv_{name}_at(row, d);\n}}\n"
    )


def zig(*arguments: str, cwd) -> None:
    done = subprocess.run([zig_program(), *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """All loaders in one shared object, with every warning an error."""
    directory = tmp_path_factory.mktemp("loaders")
    source = CONVERSIONS + "".join(map(weight_entry, FORMATS)) + "".join(map(kv_entry, SCALAR_KV))
    (directory / "loaders.c").write_text(source)
    flags = ["-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", *WARNINGS]
    message = compile_c(directory / "loaders.c", directory / "loaders.so", flags)
    assert not message, message
    return ctypes.CDLL(str(directory / "loaders.so"))


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("misalignment", [0, 1])
def test_c_loader_equals_numpy(library, name, misalignment):
    form, blocks = FORMATS[name], 200
    memory = np.random.default_rng(5).integers(0, 256, blocks * form.block_bytes + 1, dtype=np.uint8)
    raw = memory[misalignment : misalignment + blocks * form.block_bytes]
    found = np.empty(blocks * form.block, np.float32)
    getattr(library, f"read_{name}")(address(raw), address(found), ctypes.c_int(blocks))
    expected = form.unpack(raw)
    nan = np.isnan(expected)
    assert np.array_equal(nan, np.isnan(found))
    assert np.array_equal(expected.view(np.uint32)[~nan], found.view(np.uint32)[~nan])


@pytest.mark.parametrize("name", SCALAR_KV)
def test_c_kv_rows_equal_numpy(library, name):
    form, head = KV_FORMATS[name], 4096
    x = (np.random.default_rng(6).standard_normal(head) * 10.0 ** np.arange(head).clip(0, 12)).astype(np.float32)
    x[:4] = 0.0, -0.0, np.inf, 65519.0
    row, found = np.zeros(form.row_bytes(head), np.uint8), np.empty(head, np.float32)
    getattr(library, f"kv_{name}")(address(x), address(row), address(found), ctypes.c_int(head))
    with np.errstate(over="ignore"):
        expected = form.pack(x)
    assert np.array_equal(row, expected)
    assert np.array_equal(found, form.unpack(expected))


@pytest.mark.parametrize("arch", ["gfx906", "gfx1100"])
def test_loaders_are_hip_without_warnings_or_scratch(tmp_path, arch):
    """The same source compiles for a GPU; a local table must not become private memory."""
    kernels = "".join(
        element_source(form, "__device__ static inline")
        + f'extern "C" __global__ void k_{name}(const uint8_t* raw, float* out) {{\n'
        + f"  const int i = (int)__builtin_amdgcn_workitem_id_x();\n  out[i] = hfc_{name}_at(raw, i);\n}}\n"
        for name, form in FORMATS.items()
    )
    kv = "".join(row_source(f, "__device__ inline") for f in (f.sized(128) for f in KV_FORMATS.values()))
    (tmp_path / "loaders.hip").write_text(HIP_CONVERSIONS + kernels + kv)
    flags = ["-x", "hip", f"--offload-arch={arch}", "--cuda-device-only", "-nogpulib", "-nogpuinc", "-O3", "-S"]
    zig("clang", *flags, "-Wall", "-Wextra", "-Werror", "-o", "loaders.s", "loaders.hip", cwd=tmp_path)
    assembly = (tmp_path / "loaders.s").read_text()
    sizes = [line.split()[-1] for line in assembly.splitlines() if ".private_segment_fixed_size:" in line]
    assert len(sizes) == len(FORMATS) and set(sizes) == {"0"}

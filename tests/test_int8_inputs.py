"""Inputs of integer products (device/int8_operands.h), compiled for this machine: whole numbers in two signed bytes, by their own unit."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hfc.backend
from hfc.backend.lanes.operands import multiplies_bytes, operand_lanes
from hfc.base.zig import zig_program
from hfc.formats import FORMATS

DEVICE = Path(hfc.backend.__file__).parent / "device"
LARGEST = 127 * 256 + 127
RUNS = (32, 8, 4)
TEXT = """
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t; typedef unsigned long uint64_t;
#define HFC_FUNCTION static inline __attribute__((unused))
#define HFC_MMA_F16
#define HFC_MMA_I8
struct hfc_uint4 { uint32_t x, y, z, w; };
typedef _Float16 hfc_half2 __attribute__((ext_vector_type(2)));
static inline int hfc_lane() { return 0; }
static inline uint32_t hfc_f32_to_bits(float x) { return __builtin_bit_cast(uint32_t, x); }
static inline float hfc_bits_to_f32(uint32_t x) { return __builtin_bit_cast(float, x); }
static inline float hfc_larger(float x, float y) { return x > y ? x : y; }
template <int N> static inline float hfc_other(float x) { return x; }
static inline void hfc_split(float, float, uint32_t&, uint32_t&) {}
static inline uint32_t hfc_permute(uint32_t, uint32_t, uint32_t) { return 0; }
"""
ENTRIES = """
extern "C" int power(float largest) { return hfc_unit_power(largest * HFC_HEADROOM); }
template <int RUN> static void put(hfc_uint4* to, int k, const float* x) {
  for (int at = 0; at < k; at += 8) {
    float some[8];
    for (int i = 0; i < 8; i++) some[i] = x[at + i];
    hfc_put_int8_inputs<RUN, 2>(to, 1, 0, at, some);
  }
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    headers = [(DEVICE / name).read_text().replace("#pragma once\n", "") for name in ("operands.h", "int8_operands.h")]
    headers = [header.replace('"+f"', '"+x"') for header in headers]  # products are not run here
    puts = [
        f'extern "C" void put{run}(hfc_uint4* to, int k, const float* x) {{ put<{run}>(to, k, x); }}' for run in RUNS
    ]
    (folder / "int8.cpp").write_text("\n".join([TEXT, *headers, ENTRIES, *puts]))
    for command in (
        ["clang", "-x", "c++", "-std=c++17", "-O1", "-fPIC", "-fno-builtin", "-c", "int8.cpp", "-o", "int8.o"],
        ["ld.lld", "-shared", "-o", "int8.so", "int8.o"],
    ):
        done = subprocess.run([zig_program(), *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found = ctypes.CDLL(str(folder / "int8.so"))
    found.power.argtypes = [ctypes.c_float]
    return found


def test_a_unit_holds_its_largest_input_and_wastes_less_than_a_bit(library):
    rng = np.random.default_rng(1)
    near = np.float32([32638.6 / 16384, 32639.4 / 16384, 1.0, np.nextafter(np.float32(2), np.float32(1))])
    for largest in [*rng.uniform(1, 2, 500).astype(np.float32), *near]:
        for exponent in (-90, -20, 0, 31, 100):
            x = np.ldexp(largest, exponent)
            whole = np.rint(np.ldexp(x, -library.power(x)))
            assert LARGEST / 2 - 64 <= whole <= LARGEST, (largest, exponent)


@pytest.mark.parametrize("run", RUNS)
def test_planes_are_the_whole_numbers(library, run):
    """Every input once, high and low bytes of one number at one place, the extremes too."""
    k = 256
    x = np.random.default_rng(run).permutation(np.linspace(-LARGEST, LARGEST, k).round()).astype(np.float32)
    found = np.zeros((k // 8, 4, 4), np.int8)
    getattr(library, f"put{run}")(found.ctypes.data_as(ctypes.c_void_p), k, x.ctypes.data_as(ctypes.c_void_p))
    numbers = found[:, :2].astype(int) * 256 + found[:, 2:]
    assert sorted(numbers.reshape(-1)) == sorted(x.astype(int))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.quantized])
def test_sums_of_a_scale_group_stay_whole_numbers_of_32_bits(name):
    """Of the elements that one call of all four lanes multiplies by one scale."""
    lanes = (operand_lanes([FORMATS[name]], 4, repeat=True) or {}).get(name)
    if lanes is None or not multiplies_bytes(lanes):
        pytest.skip("its codes are no bytes of integer products")
    code = (1 << lanes.loader.bits) - 1
    code = code if lanes.has_low else max(abs(lanes.loader.zero), abs(code + lanes.loader.zero))
    elements = max(16 * sum(p.group == g for p in lanes.products) for g in range(lanes.group_count))
    assert code * LARGEST * elements < 2**31

"""The wide loaders of GPU lanes, compiled for this machine: both spellings of their byte moves must equal numpy."""

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hfc.backend
from hfc.backend.lanes.loaders import PLAIN, half_loader, lane_loader, starts_of_calls
from hfc.backend.lanes.operands import groups_each, operand_lanes
from hfc.backend.lanes.own_scales import own_groups, own_scales_source, own_symbol
from hfc.base.zig import zig_program
from hfc.formats import FORMATS

CODES_H = Path(hfc.backend.__file__).parent / "device" / "codes.h"
QUANTIZED = [name for name, form in FORMATS.items() if form.quantized and lane_loader(form)]
SHARED_OUT = {  # whose scale groups decode of one row shares out among four lanes
    name: lanes
    for name, form in FORMATS.items()
    if form.quantized and (found := operand_lanes([form], 4, repeat=True)) and groups_each(lanes := found[name])
}
BYTE_CODED = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs")

PRELUDE = """
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef signed char int8_t; typedef unsigned long uint64_t; typedef unsigned long size_t;
#define HFC_FUNCTION static inline __attribute__((unused))
static inline float hfc_bits_to_f32(uint32_t bits) { return __builtin_bit_cast(float, bits); }
static inline float hfc_bf16_to_f32(uint16_t bits) { return hfc_bits_to_f32((uint32_t)bits << 16); }
static inline float hfc_f16_to_f32(uint16_t bits) {
  const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff;
  if (rest >= 0x7c00) return hfc_bits_to_f32(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  return hfc_bits_to_f32(sign | rest << 13) * 0x1p112f;
}
static inline uint32_t byte_of(uint32_t low, uint32_t high, uint32_t place) {
  return (uint32_t)((((uint64_t)high << 32 | low) >> 8 * (place & 7)) & 255);
}
static inline uint32_t perm_amd(uint32_t high, uint32_t low, uint32_t places) {
  uint32_t r = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t place = places >> 8 * i & 255;  // from 8 on: the sign of an odd byte, for all its bits; zeros; ones
    const uint32_t sign = place < 12 ? byte_of(low, high, (place & 3) * 2 + 1) >> 7 ? 255u : 0u : place == 12 ? 0u : 255u;
    r |= (place < 8 ? byte_of(low, high, place) : sign) << 8 * i;
  }
  return r;
}
static inline uint32_t perm_ptx(uint32_t low, uint32_t high, uint32_t places) {
  uint32_t r = 0;
  for (int i = 0; i < 4; i++) {  // the fourth bit of a place: the byte's sign, for all its bits
    const uint32_t place = places >> 4 * i & 15, byte = byte_of(low, high, place);
    r |= (place & 8 ? byte >> 7 ? 255u : 0u : byte) << 8 * i;
  }
  return r;
}
"""


def entry(loader, name: str) -> str:
    """void name(raw, out, blocks): every element of every block, by calls of the loader."""
    form, runs = loader.form, len(loader.map.offsets)
    low = ", low" if loader.has_low else ""
    stores = "".join(
        f"""
      hfc_floats<{loader.bits}>(codes[{2 * run}], q), hfc_floats<{loader.bits}>(codes[{2 * run + 1}], q + 4);
      for (int e = 0; e < 8; e++) {{
        const float number = q[e] - hfc_floats_offset<{loader.bits}> + ({float(loader.zero)}f);
        out[b * {form.block} + base + {loader.map.offsets[run]} + e] = scale[{loader.groups[run]}] * number{f" + low[{loader.groups[run]}]" if low else ""};
      }}"""
        for run in range(runs)
    )
    return f"""
extern "C" void {name}(const uint8_t* raw, float* out, int blocks) {{
  for (int b = 0; b < blocks; b++) {{
    for (int c = 0; c < {loader.calls}; c++) {{
      const int base = {loader.map.base};
      uint32_t words[{loader.words}], codes[{2 * runs}];
      float scale[{loader.group_count}], low[{loader.group_count}], q[8];
      (void)low;
      {loader.symbol}_read(raw + b * {form.block_bytes}, c, words);
      {loader.symbol}_cut(words, c, codes, scale{low});{stores}
    }}
  }}
}}
"""


def own_entry(lanes, name: str) -> str:
    """void name(raw, scales, lows, blocks): the scales of every lane's own groups, [blocks][calls][sets][lanes][each]."""
    loader, each = lanes.loader, groups_each(lanes)
    sets = "".join(
        f"""
      {own_symbol(loader, number)}(words, c, part, scale{", low" if lanes.has_low else ""});
      for (int v = 0; v < {each}; v++) *scales++ = scale[v], *lows++ = low[v];"""
        for number in range(len(own_groups(loader, each)))
    )
    return f"""
extern "C" void {name}(const uint8_t* raw, float* scales, float* lows, int blocks) {{
  for (int c = 0; c < blocks * {loader.calls}; c++) {{
    uint32_t words[{loader.words}];
    {loader.symbol}_read(raw + c / {loader.calls} * {loader.form.block_bytes}, c % {loader.calls}, words);
    for (int part = 0; part < 4; part++) {{
      float scale[{each}], low[{each}] = {{}};{sets.replace("words, c,", f"words, c % {loader.calls},")}
    }}
  }}
}}
"""


@pytest.fixture(scope="module", params=["amd", "ptx"])
def library(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lanes")
    codes = CODES_H.read_text().replace("#pragma once\n", "")
    codes = codes.replace(
        'asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));', "r = perm_ptx(a, b, selector);"
    )
    assert "asm(" not in codes
    loaders = {x.symbol: x for name in QUANTIZED for x in (lane_loader(FORMATS[name]), half_loader(FORMATS[name])) if x}
    text = PRELUDE + codes + "".join(x.source + entry(x, f"all_{symbol}") for symbol, x in loaders.items())
    written = set(loaders)
    for lanes in SHARED_OUT.values():
        text += "" if lanes.loader.symbol in written else lanes.loader.source
        text += own_scales_source(lanes.loader, groups_each(lanes)) + own_entry(lanes, f"own_{lanes.loader.symbol}")
    (folder / "lanes.cpp").write_text(text)
    flags = ["-D__HIP__", "-D__builtin_amdgcn_perm=perm_amd"] if request.param == "amd" else []
    for command in (
        [
            "clang",
            "-x",
            "c++",
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-ffp-contract=off",
            "-fno-builtin",
            *flags,
            "-c",
            "lanes.cpp",
            "-o",
            "lanes.o",
        ],
        ["ld.lld", "-shared", "-o", "lanes.so", "lanes.o"],
    ):
        done = subprocess.run([zig_program(), *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "lanes.so"))


def random_blocks(form, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks whose numbers are finite, and their bytes from an address that is a multiple of 16 on."""
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 256, (blocks, form.block_bytes), np.uint8)
    for field in form.fields:  # numbers without infinities
        if field.count == 1 and field.dtype in ("f16", "f32", "bf16"):
            at = form.offsets[field.name]
            number = rng.uniform(-2, 2, (blocks, 1)).astype(np.float16)  # no format of files has more bits of a number
            values = form.assemble({field.name: number.astype(np.float32)})
            raw[:, at : at + field.nbytes] = values[:, at : at + field.nbytes]
    aligned = np.zeros(raw.size + 64, np.uint8)
    start = -aligned.ctypes.data % 16
    aligned[start : start + raw.size] = raw.reshape(-1)
    return raw, aligned[start:]


def call(library, name: str, *arguments: np.ndarray | int) -> None:
    getattr(library, name)(
        *(ctypes.c_int(a) if isinstance(a, int) else a.ctypes.data_as(ctypes.c_void_p) for a in arguments)
    )


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("which", [lane_loader, half_loader], ids=["lane", "half"])
def test_lanes_equal_numpy(library, name, which):
    form, loader = FORMATS[name], which(FORMATS[name])
    if loader is None:
        pytest.skip("no such loader")
    blocks = 64
    raw, aligned = random_blocks(form, blocks)
    out = np.full(blocks * form.block, np.nan, np.float32)
    call(library, f"all_{loader.symbol}", aligned, out, blocks)
    expected = form.unpack(raw.reshape(1, -1))[0]
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=2e-5)


def test_a_lane_makes_the_scales_of_its_own_groups(library):
    assert {"q4_k", "q6_k", "hfc4", "mfp4b256", "q2_k"} <= SHARED_OUT.keys()
    for name, lanes in SHARED_OUT.items():
        form, loader, each, blocks = FORMATS[name], lanes.loader, groups_each(lanes), 16
        raw, aligned = random_blocks(form, blocks)
        calls = starts_of_calls(form, loader.map)
        begins = np.array([[own.begins for own in own_groups(loader, each)]])  # [1, sets, lanes]
        steps = own_groups(loader, each)[0].step * np.arange(each)
        # [blocks, calls, lanes, sets, each]
        element = calls[:, None, None, None] + begins.swapaxes(1, 2)[..., None] + steps
        group = np.arange(blocks)[:, None, None, None, None] * (form.block // form.group) + element // form.group
        # every group of a call has one lane
        assert all(len(set(of_call.flat)) == lanes.group_count for of_call in element // form.group)
        scales, lows = np.full(group.size, np.nan, np.float32), np.full(group.size, np.nan, np.float32)
        call(library, f"own_{loader.symbol}", aligned, scales, lows, blocks)
        expected = form.decompose(raw.reshape(1, -1))
        close = dict(rtol=2e-6, atol=2e-5)
        np.testing.assert_allclose(scales, expected.scale[0][group.ravel()], **close, err_msg=name)
        low = 0 * expected.scale if expected.min is None else expected.min
        np.testing.assert_allclose(lows, low[0][group.ravel()], **close, err_msg=name)


@pytest.mark.parametrize("name", BYTE_CODED)
def test_formats_of_gguf_have_both_loaders(name):
    assert lane_loader(FORMATS[name]) and half_loader(FORMATS[name])
    assert lane_loader(FORMATS[name]).words <= 16  # no byte is read twice for its halves


def test_plain_lanes_lie_in_a_row():
    assert PLAIN.map.offsets == (0, 8, 16, 24)


@pytest.mark.parametrize("name", QUANTIZED)
def test_no_word_is_read_that_nobody_uses(name):
    """On AMD its register is given to something else while the load is on its way, and that waits."""
    source = lane_loader(FORMATS[name]).source
    for word in re.findall(r"const uint32_t\* (in_\w+) = ", source):
        assert len(re.findall(rf"\b{word}\b", source)) > 1, word

"""Weight and KV formats in numpy: every declaration against gguf-py, on random bytes and on ggml's own blocks."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfc.base.diagnostics import HfcError
from hfc.formats import FORMATS, KV_FORMATS, kv_format, weight_format
from hfc.formats.checkpoint import open_checkpoint

REAL_BLOCKS = Path(__file__).parent / "data" / "formats" / "ggml_blocks.gguf"
GRIDS = ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "tq1_0")
QUANTIZED = sorted(name for name, form in FORMATS.items() if form.quantized)
GGUF = sorted(name for name, form in FORMATS.items() if form.gguf_type is not None)
PACKABLE = sorted(name for name, form in FORMATS.items() if form.encode or not form.quantized)


def bits(x: np.ndarray) -> np.ndarray:
    """f32 as comparable bits; all NaNs are one."""
    return np.where(np.isnan(x), np.uint32(0x7FC00000), np.ascontiguousarray(x).view(np.uint32))


def reference(form, raw: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        if form.name == "q1_0":
            # gguf-py knows its size alone: f16 d, then 128 bits, the lowest first; d where set, else -d
            blocks = raw.reshape(-1, 18)
            d = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
            ones = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
            return np.where(ones, d, -d).reshape(*raw.shape[:-1], -1)
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(form.gguf_type))


def random_bytes(form, rows: int, blocks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, blocks * form.block_bytes), dtype=np.uint8)


def test_every_format_of_the_issue_is_there():
    expected = "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs tq2_0 q1_0".split()
    assert sorted(expected) == GGUF
    assert {"f16", "f32"} <= KV_FORMATS.keys()


@pytest.mark.parametrize("name", GGUF)
def test_sizes_and_type_numbers_are_those_of_gguf(name):
    form = FORMATS[name]
    kind = gguf.GGMLQuantizationType(form.gguf_type)
    assert kind.name.lower() == name
    assert gguf.GGML_QUANT_SIZES[kind] == (form.block, form.block_bytes)
    assert form.row_bytes(512) == 512 * form.bits_per_weight / 8


@pytest.mark.parametrize("name", GGUF)
def test_unpack_equals_gguf_on_random_bytes(name):
    form = FORMATS[name]
    raw = random_bytes(form, 40, 60)  # every byte value, so inf and NaN scales too
    assert np.array_equal(bits(form.unpack(raw)), bits(reference(form, raw)))


@pytest.mark.parametrize("name", sorted({*GGUF} - {"tq2_0", "q1_0"}))
def test_unpack_of_blocks_quantized_by_ggml(name):
    with open_checkpoint(REAL_BLOCKS) as checkpoint:
        source = checkpoint.f32("source")
        stored = "source" if name == "f32" else name
        assert checkpoint.info(stored).format == name
        found = checkpoint.f32(stored)
        assert np.array_equal(bits(found), bits(reference(FORMATS[name], checkpoint.raw(stored))))
        error = np.linalg.norm(found - source, axis=1) / np.linalg.norm(source, axis=1)
    # b-bit codes of normally distributed weights leave about 2^-b * 1.5 of their norm; bf16 keeps 8 bits
    code = FORMATS[name].codes.get("q")
    assert error.max() < 1.5 * 2.0 ** -(sum(plane.bits for plane in code.planes) if code else 8)


@pytest.mark.parametrize("name", GRIDS)
def test_formats_that_are_expanded_in_memory_equal_gguf(name):
    """Random bytes, so every point of a grid, every pattern of signs and every scale; the rows of one file format are those of another in memory."""
    form, kind = weight_format(name), gguf.GGMLQuantizationType[name.upper()]
    assert gguf.GGML_QUANT_SIZES[kind] == (form.block, form.group_bytes) and form.row_bytes(512) == 2 * form.group_bytes
    raw = np.random.default_rng(0).integers(0, 256, (40, 40, 4 * form.group_bytes), np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, kind)
    assert np.array_equal(bits(form.unpack(raw)), bits(expected))
    assert form.loaded(raw).shape == (40, 40, form.blocks.row_bytes(1024))
    with pytest.raises(HfcError, match=f"cannot quantize to {name}"):
        form.pack(np.zeros((1, 256), np.float32))


@pytest.mark.parametrize("name", QUANTIZED)
def test_decompose_gives_the_terms_of_unpack(name):
    form = FORMATS[name]
    raw = random_bytes(form, 3, 8).reshape(3, 1, -1)
    parts = form.decompose(raw)
    k = 8 * form.block
    assert parts.codes.shape == (3, 1, k) and parts.codes.dtype == np.uint8
    assert parts.scale.shape == (3, 1, k // form.group) and parts.scale.dtype == np.float32
    number = np.array(form.table)[parts.codes] if form.table else parts.codes.astype(int) + parts.zero
    with np.errstate(all="ignore"):
        value = number.astype(np.float32) * np.repeat(parts.scale, form.group, axis=-1)
        if parts.min is not None:
            value += np.repeat(parts.min, form.group, axis=-1)
    assert (parts.min is None) == (not form.min)
    assert np.array_equal(bits(value), bits(form.unpack(raw)))


@pytest.mark.parametrize("name", sorted({*PACKABLE} & {*GGUF}))
def test_pack_equals_ggufs_reference_quantizer(name):
    form = FORMATS[name]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((96, 256), dtype=np.float32) * np.exp(rng.normal(0, 4, (96, 1)).clip(-12, 9)).astype(
        np.float32
    )
    x[3] = 0
    x[4, :32] = 2.5  # constant block: no range
    x[5] = np.round(x[5] * 2) / 2  # ties
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType(form.gguf_type)).view(np.uint8)
    assert np.array_equal(form.pack(x), expected.reshape(96, -1))


@pytest.mark.parametrize("name", PACKABLE)
def test_pack_of_unpacked_values_is_stable(name):
    form = FORMATS[name]
    once = form.unpack(form.pack(np.random.default_rng(2).standard_normal((4, 512), dtype=np.float32)))
    twice = form.unpack(form.pack(once))
    # 5-bit and smaller codes may move by the rounding of an f16 scale, never by a code
    assert np.allclose(once, twice, rtol=2e-3, atol=2e-3 * np.abs(once).max())


FLOATS = ("f16", "bf16", "f32")


@pytest.mark.parametrize("name", QUANTIZED)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 4))
def test_assemble_inverts_the_layout(name, seed, blocks):
    """Codes and fields -> bytes -> the same codes: no bit of a block belongs to two of them, none is lost."""
    form, rng = FORMATS[name], np.random.default_rng(seed)
    parts = {}
    for code_name, code in form.codes.items():
        width = sum(plane.bits for plane in code.planes)
        count = form.block if code_name == "q" else form.block // form.group
        lowest = min(plane.left for plane in code.planes)  # bits below are never set
        parts[code_name] = rng.integers(0, 2**width, (blocks, count), dtype=np.uint8) << lowest
    for field in form.fields:
        if field.dtype in FLOATS:
            parts[field.name] = rng.choice([-4.0, 0.5, 1.0, 8.0], (blocks, 1)).astype(
                np.float32
            )  # exact in each of them
    raw = form.assemble(parts)
    for code_name in form.codes:
        assert np.array_equal(form._take_code(raw, code_name), parts[code_name])
    width = 8 * sum(f.nbytes for f in form.fields if f.dtype in FLOATS or f.name == "zeros")
    for code_name, code in form.codes.items():
        width += sum(plane.bits for plane in code.planes) * parts[code_name].shape[1]
    assert width == 8 * form.block_bytes, "the codes and scales must cover the block exactly"


def test_empty_rows_and_chunk_borders():
    form = FORMATS["q4_1"]
    assert form.unpack(np.zeros((0, 20), np.uint8)).shape == (0, 32)
    assert form.decompose(np.zeros((0, 40), np.uint8)).codes.shape == (0, 64)
    raw = random_bytes(form, 1, 8192 * 2 + 3)  # two full chunks and a rest
    assert np.array_equal(bits(form.unpack(raw)), bits(reference(form, raw)))


def test_unaligned_and_strided_bytes():
    form = FORMATS["bf16"]
    x = np.random.default_rng(3).standard_normal((4, 8)).astype(np.float32)
    packed = form.pack(x)
    shifted = np.zeros(packed.size + 1, np.uint8)
    shifted[1:] = packed.reshape(-1)
    assert np.array_equal(form.unpack(shifted[1:].reshape(4, 16)), form.unpack(packed))
    assert np.array_equal(form.unpack(np.repeat(packed, 2, axis=1)[:, ::2]), form.unpack(packed))


def test_bf16_rounds_to_even_and_keeps_nan():
    form = FORMATS["bf16"]
    x = np.array([0x3F808000, 0x3F818000, 0x7F800001, 0xFF800000], np.uint32).view(np.float32)
    assert form.pack(x).view(np.uint16).tolist() == [0x3F80, 0x3F82, 0x7FC0, 0xFF80]


def test_errors_name_what_fits():
    with pytest.raises(HfcError, match="multiple of its block, 256"):
        FORMATS["q4_k"].row_bytes(100)
    with pytest.raises(HfcError, match="not a multiple of 18-byte blocks"):
        FORMATS["q4_0"].unpack(np.zeros(19, np.uint8))
    with pytest.raises(HfcError, match="cannot quantize to q6_k"):
        FORMATS["q6_k"].pack(np.zeros(256, np.float32))
    with pytest.raises(HfcError) as caught:
        weight_format("q4k")
    assert "did you mean 'q4_k'" in str(caught.value)
    with pytest.raises(HfcError, match="unknown KV format"):
        kv_format("f8")


@pytest.mark.parametrize("name", ["f16", "f32"])
def test_kv_rows_round_trip(name):
    form = KV_FORMATS[name]
    x = np.random.default_rng(4).standard_normal((2, 3, 64)).astype(np.float32)
    raw = form.pack(x)
    assert raw.shape == (2, 3, form.row_bytes(64))
    assert np.array_equal(form.unpack(raw), x.astype({"f32": np.float32, "f16": np.float16}[name]).astype(np.float32))

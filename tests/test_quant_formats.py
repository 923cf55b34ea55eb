"""The HFQ, MQ and HFP families against a second implementation that packs bit by bit, and hfc4 against exhaustive search."""

import struct

import numpy as np
import pytest

from hfc.base.diagnostics import HfcError
from hfc.formats import FORMATS, READABLE
from hfc.formats.quant.hfc4 import LEVELS
from hfc.formats.recipe import apply, tensor
from hfc.formats.rotation import rotate, rotate_back, signs
from hfc.formats.search import table_codes
from hfc.plan import ConstRef, WeightRef
from hfc.runtime.random_weights import RandomWeights

BITS = {"hfq3g256": 3, "hfq4g256": 4, "hfq6g256": 6, "mq3g256": 3, "mq4g256": 4, "mq6g256": 6}
V2 = {"hfq4g256v2": 4, "mq3g256v2": 3, "mq4g256v2": 4, "mq6g256v2": 6}


def published(values: list[float], bits: int, v2: bool) -> bytes:
    """One block by the book: header, then a little-endian bit stream, with Python's own numbers."""
    top, parts, codes, header = 2**bits - 1, 2 if v2 else 1, [], b""
    size = 256 // parts
    for part in range(parts):
        some = values[part * size : (part + 1) * size]
        low = np.float32(min(some))
        scale = np.float32(np.float32(max(some)) - low) / np.float32(top)
        if v2:
            header += struct.pack("<ee", scale, low)
            scale, low = struct.unpack("<ee", header[-4:])
        else:
            header += struct.pack("<ff", scale, low)
        inverse = np.float32(1) / np.float32(scale) if scale > 0 else np.float32(0)
        for v in some:
            code = int(np.float32(np.float32(np.float32(v) - np.float32(low)) * inverse) + np.float32(0.5))
            codes.append(min(max(code, 0), top))
    stream = sum(code << bits * i for i, code in enumerate(codes))
    return header + stream.to_bytes(32 * bits, "little")


@pytest.mark.parametrize("name", [*BITS, *V2])
def test_blocks_are_those_of_the_published_layout(name):
    form, bits = FORMATS[name], (BITS | V2)[name]
    assert form.block_bytes == 8 + 32 * bits and form.rotated == name.startswith("m")
    x = np.random.default_rng(7).standard_normal((6, 512)).astype(np.float32)
    x[1, :256], x[2, 128:256], x[3] = 0, 0.75, x[3] * 1e-3
    raw = form.pack(x)
    expected = b"".join(published(x.reshape(-1, 256)[i].tolist(), bits, name in V2) for i in range(12))
    assert raw.tobytes() == expected


def test_small_blocks_spelled_out():
    """Bytes as the layout's description gives them: nibbles low first, 4 six-bit codes in 3 bytes, 8 three-bit codes in 3."""
    x = np.zeros((1, 256), np.float32)
    x[0, :8] = 0, 1, 2, 3, 4, 5, 6, 15
    raw = FORMATS["hfq4g256"].pack(x)[0]
    assert raw[:8].view(np.float32).tolist() == [1, 0] and raw[8:12].tolist() == [0x10, 0x32, 0x54, 0xF6]
    x[0, 7] = 63
    q = [0, 1, 2, 3]
    assert FORMATS["hfq6g256"].pack(x)[0, 8:11].tolist() == [
        q[0] | q[1] << 6,
        q[1] >> 2 | q[2] << 4,
        q[2] >> 4 | q[3] << 2,
    ]
    x[0, 7] = 7
    stream = sum(q << 3 * i for i, q in enumerate([0, 1, 2, 3, 4, 5, 6, 7]))
    assert FORMATS["hfq3g256"].pack(x)[0, 8:11].tolist() == list(stream.to_bytes(3, "little"))


def test_signs_and_rotation():
    state, expected = 42, []
    for _ in range(256):
        state = (state * 1103515245 + 12345) % 2**31
        expected.append(1.0 if (state // 65536) % 2 else -1.0)
    assert signs(42).tolist() == expected and signs(42).tolist() != signs(1042).tolist()
    x = np.random.default_rng(8).standard_normal((3, 512)).astype(np.float32)
    y = (x.reshape(-1, 256) * signs(42)).astype(np.float64)
    stride = 1
    while stride < 256:  # butterflies, as the public implementation does them
        for i in range(256):
            if not i & stride:
                a, b = y[:, i].copy(), y[:, i + stride].copy()
                y[:, i], y[:, i + stride] = a + b, a - b
        stride *= 2
    y = (y * signs(1042) / 16).reshape(x.shape)
    assert np.allclose(rotate(x), y, atol=1e-5)
    assert np.allclose(rotate_back(rotate(x)), x, atol=1e-5)
    assert np.allclose(np.linalg.norm(rotate(x), axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


def relative_error(name: str, x: np.ndarray) -> float:
    found = READABLE[name].unpack(READABLE[name].pack(x))
    return float(((found - x) ** 2).sum() / (x**2).sum())


def test_hfc4_has_less_error_than_any_other_format_of_its_size():
    form = FORMATS["hfc4"]
    assert (form.block_bytes, form.bits_per_weight) == (144, 4.5)
    x = np.random.default_rng(9).standard_normal((64, 1024)).astype(np.float32)
    assert relative_error("hfc4", x) < 0.00405  # q4_k as llama.cpp packs it: 0.0051; q4_0: 0.0074
    assert relative_error("hfc4", x) < 0.6 * relative_error("q4_0", x)
    assert relative_error("mq4g256v2", x) < relative_error("mq4g256", x)


def test_the_search_finds_scales_near_the_best():
    x = np.random.default_rng(10).standard_normal((40, 16)).astype(np.float32)
    levels = np.array(LEVELS, np.float32)
    scales = np.linspace(-0.04, 0.04, 3001, dtype=np.float32)
    scales = scales[scales != 0]
    errors = [np.abs(x[:, :, None] - s * levels).min(-1) ** 2 for s in scales]
    best = np.stack([e.sum(1) for e in errors]).min(0)
    found = table_codes(np.repeat(x, 16, axis=0).reshape(40, 256), LEVELS, 16, 63)
    value = found["d"] * (found["sc"].astype(np.float32) - 64)
    got = ((np.repeat(value, 16, axis=1) * levels[found["q"]] - np.repeat(x, 16, axis=0).reshape(40, 256)) ** 2).sum(
        1
    ) / 16
    assert got.sum() < 1.02 * best.sum()


def test_importance_moves_the_error_to_where_it_matters_less():
    x = np.random.default_rng(11).standard_normal((50, 256)).astype(np.float32)
    weight = np.ones(256, np.float32)
    weight[::4] = 20
    plain, weighted = (FORMATS["hfc4"].assemble(table_codes(x, LEVELS, 16, 63, w)) for w in (None, weight))
    error = [((FORMATS["hfc4"].unpack(raw) - x) ** 2 * weight).sum() for raw in (plain, weighted)]
    assert error[1] < 0.95 * error[0]


@pytest.mark.parametrize("name", ["hfc4", "mq8g256", "q8_0", "mq4g256", "mfp4g32"])
def test_zeros_stay_zeros(name):
    assert not READABLE[name].unpack(READABLE[name].pack(np.zeros((2, 512), np.float32))).any()


E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def published_hfp(values: list[float], flags: int) -> bytes:
    """One HFP4G32 row by the book, number by number: header, then exponent and nibbles of every 32."""
    peak = max(map(abs, values))
    scale = np.float16(np.float32(peak) / np.float32(6)) if peak else np.float16(1)
    if peak and float(scale) * 6 < peak:
        scale = np.nextafter(scale, np.float16(np.inf))
    out = struct.pack("<eeHBBII", scale, 0, len(values) // 32, flags, 0, 0, 0)
    for start in range(0, len(values), 32):
        some = [float(np.float32(v) / np.float32(scale)) for v in values[start : start + 32]]
        most, e = max(map(abs, some)) / 6, 0
        while most and 2.0 ** (e - 127) < np.float32(most):
            e += 1
        nibbles = []
        for v in some:
            distances = [abs(abs(v) / 2.0 ** (e - 127) - size) if e else size for size in E2M1]
            code = distances.index(min(distances))
            nibbles.append(code + 8 if v < 0 and code else code)
        out += bytes([e]) + bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2]))
    return out


def read_hfp(row: bytes) -> list[float]:
    """The values of a row, from its description alone."""
    (scale,), found = struct.unpack("<e", row[:2]), []
    for at in range(16, len(row), 17):
        for byte in row[at + 1 : at + 17]:
            for nibble in (byte & 15, byte >> 4):
                found.append(scale * 2.0 ** (row[at] - 127) * E2M1[nibble & 7] * (-1 if nibble & 8 else 1))
    return found


@pytest.mark.parametrize("name", ["hfp4g32", "mfp4g32"])
def test_hfp_rows_are_those_of_the_published_layout(name):
    form, flags = READABLE[name], 5 if name == "mfp4g32" else 0
    assert form.row_bytes(512) == 16 + 17 * 16 and form.rotated == bool(flags)
    x = np.random.default_rng(12).standard_normal((5, 512)).astype(np.float32)
    x[1, :64], x[2], x[3, 5], x[4] = 0, 0, 60, x[4] * 1e-4
    raw = form.pack(x)
    assert [row.tobytes() for row in raw] == [published_hfp(row.tolist(), flags) for row in x]
    expected = [read_hfp(row.tobytes()) for row in raw]
    assert np.array_equal(form.unpack(raw), np.array(expected, np.float32))
    assert np.array_equal(form.blocks.unpack(form.loaded(raw)), form.unpack(raw))
    assert relative_error(name, x[:1]) < 0.02
    every = np.arange(16 + 17 * 8, dtype=np.uint8)[None].copy()  # every code, and exponents on both sides of 127
    every[0, :16] = np.frombuffer(struct.pack("<eeHBBII", -1.5, 0, 8, flags, 0, 0, 0), np.uint8)
    every[0, 16::17] = 1, 100, 126, 127, 128, 140, 200, 220
    assert np.array_equal(form.unpack(every), np.array([read_hfp(every[0].tobytes())], np.float32))


@pytest.mark.parametrize(
    "at, value, message",
    [(4, 17, "another number of blocks"), (6, 2, "flags other"), (1, 0x7C, "not a number"), (16, 255, "not a number")],
)
def test_hfp_headers_that_mean_something_else_are_refused(at, value, message):
    raw = READABLE["hfp4g32"].pack(np.ones((3, 512), np.float32))
    raw[2, at] = value
    with pytest.raises(HfcError, match=f"row 2 .*{message}"):
        READABLE["hfp4g32"].unpack(raw)
    with pytest.raises(HfcError, match="no whole number of blocks"):
        READABLE["hfp4g32"].unpack(raw[:, :-1])


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.quantized])
def test_random_weights_fill_every_part_of_a_block(name):
    """Two scales of a block are two scales: none stays as the random bytes had it."""
    form, columns = FORMATS[name], 512
    ref = WeightRef("w", tensor("w"), name, (64, columns), "rows")
    values = form.unpack(RandomWeights(columns).weight(ref)).reshape(-1, form.block)
    for half in (values[:, : form.block // 2], values[:, form.block // 2 :]):
        assert abs(half.mean()) < 0.2 * columns**-0.5
        assert 0.9 < half.std() * columns**0.5 < 1.1


@pytest.mark.parametrize("moved", [lambda x: x, lambda x: apply("pieces", x, shape=(128,), axis=0, borders=(64, 128))])
def test_random_parts_of_small_vectors_follow_their_arithmetic(moved):
    """A rank's part of 1 + w is near 1 and of -exp(a) negative: what grows without bound ends in numbers that are none."""
    one = apply("add", tensor("w"), c=1.0)
    decay = apply("neg", apply("exp", tensor("a")))
    made = [
        RandomWeights(64).weight(WeightRef("v", moved(recipe), "f32", (64,), "rows")).reshape(-1).view(np.float32)
        for recipe in (one, decay)
    ]
    assert (abs(made[0] - 1) < 0.6).all() and (made[1] < 0).all()


def test_random_weights_have_every_table():
    """Position scales were taken for RoPE's, which have other parameters."""
    tables = {
        apply("rope_table", tensor("divisors"), rotary=8, theta=1e4): ("C", 8),
        apply("position_scale", beta=0.1, period=4.0, offset=0): ("C", 1),
        apply("mul", apply("repeat", rows=1, values=(1.0, 2.0)), c=0.5): (2,),
    }
    for recipe, shape in tables.items():
        values = RandomWeights(16).const(ConstRef("t", recipe, shape)).view(np.float32)
        assert values.shape == tuple(16 if n == "C" else n for n in shape) and np.isfinite(values).all()

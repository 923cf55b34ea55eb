"""The CPU weight layout: every weight can be read back from its tile, padding is zero, sizes are as said."""

import numpy as np
import pytest

from hfc.formats import FORMATS, weight_format
from hfc.formats.tile import LANES, PANEL, pack_tiles, tile_layout


def read_back(layout, tiles, n, k):
    """Weights f32 [n, k] out of packed tiles, element by element as the docstring of the layout says."""
    out = np.zeros((n, k), np.float32)
    size = layout.tile_bytes(k)
    for row in range(n):
        tile, lane = tiles[row // LANES * size :][:size], row % LANES
        for i in range(k):
            if layout.element != "code":
                bits = tile.view(np.uint32 if layout.element == "f32" else np.uint16)[i * LANES + lane]
                as_float = {"f32": lambda b: b.view(np.float32), "f16": lambda b: b.view(np.float16)}
                out[row, i] = as_float.get(layout.element, lambda b: np.uint32(int(b) << 16).view(np.float32))(bits)
                continue
            span_k, groups = layout.span * PANEL, layout.span * PANEL // layout.group
            span = tile[i // span_k * layout.span_bytes :][: layout.span_bytes]
            at = i % span_k // layout.group * LANES + lane
            if layout.scale_bytes == 1:
                outer = LANES * layout.outer_bytes * (1 + layout.has_min)
                above = span[:outer].view(np.float16 if layout.outer_bytes == 2 else np.float32).astype(np.float32)
                below = span[outer:].view(np.int8)
                scale = above[lane] * below[at]
                low = -(above[LANES + lane] * below[groups * LANES + at]) if layout.has_min else np.float32(0)
            else:
                numbers = (
                    span[: layout.header_bytes]
                    .view(np.float16 if layout.scale_bytes == 2 else np.float32)
                    .astype(np.float32)
                )
                scale = numbers[at]
                low = numbers[groups * LANES + at] if layout.has_min else np.float32(0)
            half = span[layout.header_bytes :][i % span_k // 32 * layout.bits * 64 :]
            quad, code, done = i % 32 // 4, 0, 0
            for bits in layout.planes:
                byte = int(half[(done + quad * bits // 8) * 64 + lane * 4 + i % 4])
                code |= (byte >> (quad % (8 // bits) * bits) & (2**bits - 1)) << done
                done += bits
            number = layout.table[code] - 128 if layout.table else code + layout.zero
            out[row, i] = scale * np.float32(number) + low
    return out


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_weight_reads_back(name):
    form = weight_format(name)
    n, k = 19, max(form.block, 32) if form.quantized else 21
    raw = np.random.default_rng(0).integers(0, 256, (n, form.row_bytes(k)), np.uint8)
    if form.quantized:
        for field in (f for f in form.fields if f.dtype in ("f16", "f32")):
            blocks = raw.reshape(-1, form.block_bytes)
            blocks[:, form.offsets[field.name] + field.nbytes - 1] &= 0x3F  # no infinities
    else:
        raw = form.pack(np.random.default_rng(0).standard_normal((n, k), np.float32))
    layout, tiles = tile_layout(form), pack_tiles(form, raw, (n, k))
    assert tiles.nbytes == layout.nbytes((n, k))
    np.testing.assert_array_equal(read_back(layout, tiles, n, k), form.unpack(raw))
    assert not read_back(layout, tiles, 32, k)[n:].any(), "rows behind the last must be zero"


def test_experts_follow_each_other():
    form, rng = weight_format("q4_1"), np.random.default_rng(0)
    raw = form.pack(rng.standard_normal((3, 20, 64), np.float32))
    whole = pack_tiles(form, raw, (3, 20, 64))
    assert whole.tobytes() == b"".join(pack_tiles(form, raw[e], (20, 64)).tobytes() for e in range(3))


def test_many_rows_pack_as_few():
    """Packing goes by pieces of rows; where they are cut must not show."""
    form, rng = weight_format("q8_0"), np.random.default_rng(0)
    raw = form.pack(rng.standard_normal((5000, 512), np.float32))
    whole = pack_tiles(form, raw, (5000, 512))
    size = tile_layout(form).tile_bytes(512)
    for start in (0, 2048, 4992):
        part = raw[start : start + 16]
        assert whole[start // 16 * size :][:size].tobytes() == pack_tiles(form, part, (len(part), 512)).tobytes()

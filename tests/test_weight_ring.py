"""Weights of one row that come into LDS by asynchronous copies: every byte is copied, every tile is made once, and only where it can be."""

from __future__ import annotations

import pytest

from hfc.backend.lanes.operands import operand_lanes
from hfc.backend.skeletons.linear.skinny.families import MatrixFamily
from hfc.backend.skeletons.linear.skinny.params import TILE
from hfc.backend.skeletons.linear.skinny.ring import PIECE, _shares, ring_lanes, ring_source
from hfc.formats import FORMATS

K = 4096
QUANTIZED = sorted(name for name, form in FORMATS.items() if form.quantized and K % form.block == 0)


def lanes_of(name: str):
    found = operand_lanes([FORMATS[name]], 4, repeat=True) or operand_lanes([FORMATS[name]], 4)
    return found[name] if found else None


@pytest.mark.parametrize("name", QUANTIZED)
def test_copies_bring_every_byte_of_an_iteration_and_nothing_behind_the_row(name):
    lanes = lanes_of(name)
    ring = ring_lanes(lanes, K) if lanes else None
    if ring is None:
        return
    elements = lanes.iter_elements * lanes.k_lanes
    nbytes, row_bytes = lanes.form.row_bytes(elements), lanes.form.row_bytes(K)
    for begin in range(0, row_bytes, nbytes):
        aligned = begin // PIECE * PIECE
        assert aligned + ring.chunks * PIECE >= begin + nbytes
        assert aligned + ring.chunks * PIECE <= -(-row_bytes // PIECE) * PIECE
    assert ring.stride % PIECE == 0 and ring.stride >= ring.chunks * PIECE


def test_the_usual_formats_have_a_ring():
    assert {"q4_k", "q8_0", "q4_0"} <= {
        name for name in QUANTIZED if (lanes := lanes_of(name)) and ring_lanes(lanes, K)
    }
    lanes = lanes_of("q4_k")
    assert ring_lanes(lanes, K + 128) is None, "an iteration is no whole number of blocks there"
    assert "RING_CHUNKS = 9" in ring_source({"q4_k": lanes}, K)


@pytest.mark.parametrize(("name", "width"), [("q4_k", 8)])
def test_rows_that_lanes_read_together_begin_in_different_banks(name, width):
    ring = ring_lanes(lanes_of(name), K)
    banks = [{(row * ring.stride + byte) // 4 % 32 for byte in range(4 * width)} for row in range(TILE // 4)]
    assert all(not one & other for i, one in enumerate(banks) for other in banks[i + 1 :])


@pytest.mark.parametrize("tiles", [(1,), (132,), (768,), (15520,), (300, 70), (5, 1, 400)])
def test_blocks_make_every_tile_once(tiles):
    families, at = [], 0
    for count in tiles:
        families.append(MatrixFamily((), at, at + count, (0,), ()))
        at += count
    shares = _shares(tuple(families), 264)
    for share, count in zip(shares, tiles, strict=True):
        assert sorted(
            tile for block in range(share.blocks) for tile in range(block, share.tiles, share.blocks)
        ) == list(range(count))
    assert [share.start for share in shares] == [0, *(share.stop for share in shares[:-1])]
    assert shares[-1].stop <= 264 + len(tiles)

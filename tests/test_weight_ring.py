"""Weights of one row that come into LDS by asynchronous copies: every byte is copied, every tile is made once, and only where it can be."""

from __future__ import annotations

import pytest

from hfc.backend.lanes.operands import operand_lanes
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.skinny.families import MatrixFamily
from hfc.backend.skeletons.linear.skinny.params import THREADS, TILE, BlockShape
from hfc.backend.skeletons.linear.skinny.ring import PIECE, _shares, fits, inputs_once, ring_lanes, ring_source
from hfc.backend.spec import Stat
from hfc.formats import FORMATS
from hfc.target.arch import find_arch

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


def normed(k: int) -> LinearRegion:
    """A product behind a norm: x of the row, and the norm's weights."""
    x, w = f"x0[(size_t)row * {k} + j]", "w1[j]"
    stat = Stat("stat0", k, "sum", f"{x} * {x}", "hfc_rsqrt(r)")
    return LinearRegion(
        k=k, parts=(), zipped=False, store="", load=f"({x} * stat0 * {w})", rotate=0, stats=(stat,), reads=(x, w)
    )


@pytest.mark.parametrize("k", [64, 1024, 4096, 5120, 6144])
@pytest.mark.parametrize("waves", [8, 16, 24])
def test_every_input_is_read_once_and_norm_weights_before_the_wait(k, waves):
    once = inputs_once(normed(k), waves, find_arch("sm_90"))
    if once is None:
        assert k > 4096, "few enough for registers"
        return
    assert [(read.static, read.reduced) for read in once.reads] == [(False, waves != 8), (True, False)]
    assert once.runs * 8 * waves * 32 >= k and (once.own or once.runs) * 8 * (THREADS if once.own else waves * 32) >= k
    assert once.load == "(seen0[run][i] * stat0 * seen1[run][i])"
    mine = "own0" if once.own else "seen0"
    assert once.elements == (f"{mine}[run][i] * {mine}[run][i]",), (
        "a reduction's threads are the first, whatever the block"
    )


def test_blocks_of_other_sizes_are_taken_where_they_fit_and_know_how_to_reduce():
    arch, lanes = find_arch("sm_90"), {"q4_k": lanes_of("q4_k")}
    assert fits(normed(4096), lanes, BlockShape(24, 1, False, 3), arch)
    assert not fits(normed(4096), lanes, BlockShape(24, 1, False, 4), arch), "more LDS than there is"
    assert not fits(normed(5120), lanes, BlockShape(16, 1, False, 2), arch), "too many inputs for registers"
    assert fits(normed(17408), lanes, BlockShape(8, 1, False, 4), arch), "27B's down product"

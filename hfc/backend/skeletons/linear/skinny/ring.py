"""One row with weights that come into LDS by asynchronous copies (Hopper), several iterations of a wave ahead: registers hold no weights on
their way, and the copies go on from one tile of outputs to the next."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from hfc.backend.lanes.operands import DEPTH, OperandLanes
from hfc.backend.shape import Geometry
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.skinny.families import MatrixFamily
from hfc.backend.skeletons.linear.skinny.params import (
    RING,
    SPAN,
    THREADS,
    TILE,
    BlockShape,
    InputsOnce,
    RingParams,
    RingShare,
    RowParams,
    SeenRead,
)
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

FEW_WEIGHTS = 12 << 20  # of a region whose launch is over before memory is busy
MANY_OUTPUTS = 100_000  # of a head: several tiles a block
BYTES = 8  # bits of a code with which registers are full of weights on their way
FEATURE = "wgmma_f16"  # of architectures that have asynchronous copies, and LDS for them
PIECE = 16  # bytes of a copy
MOST_K = 32768  # inputs that are staged at once
MOST_SEEN = 48  # of them that a thread holds in registers
COLUMNS = 8  # of an MMA
SLOTS = 128  # bytes: what waves tell each other in reductions


@dataclass(frozen=True)
class RingLanes:
    """How an iteration's weights of one format lie in LDS. chunks: copies of a weight row.  stride: bytes from one row to the next."""

    chunks: int
    stride: int


def ring_lanes(lanes: OperandLanes, k: int) -> RingLanes | None:
    """None: an iteration's weights do not lie together, or rows begin where no copy can."""
    elements = lanes.iter_elements * lanes.k_lanes
    if not lanes.form.quantized or elements % lanes.form.block or k % elements or lanes.form.row_bytes(k) % PIECE:
        return None
    nbytes = lanes.form.row_bytes(elements)
    chunks, farthest = (
        -(-nbytes // PIECE),
        PIECE - math.gcd(PIECE, nbytes),
    )  # bytes between a copy's address and the first weight
    if farthest + nbytes > chunks * PIECE:
        return None
    # weight rows that lanes read together begin in different banks
    apart = 2 * PIECE if lanes.map.run <= 8 else PIECE
    return RingLanes(
        chunks, chunks * PIECE + (apart - chunks * PIECE) % (8 * PIECE if lanes.map.run <= 8 else 2 * PIECE)
    )


def cannot(region: LinearRegion, arch: Arch, int8: bool, lanes: Mapping[str, OperandLanes]) -> bool:
    """Whether weights must go straight to registers."""
    return (
        not arch.has(FEATURE)
        or not int8
        or bool(region.top)
        or region.k > MOST_K
        or region.zipped
        and len(region.weight_formats) > 1
        or not all(ring_lanes(of, region.k) for of in lanes.values())
    )


def fits(region: LinearRegion, lanes: Mapping[str, OperandLanes], shape: BlockShape, arch: Arch) -> bool:
    """Whether a block's rings and inputs have room in LDS, and its threads know how to reduce: the first THREADS do, of what is in registers."""
    tile = -(-region.k // SPAN) * SPAN
    partials = 2 * shape.waves * TILE * COLUMNS * 4  # of two tiles of outputs
    inputs = 2 * tile + 2 * SPAN + 4 * (tile // DEPTH + tile // SPAN)
    room = shape.waves * shape.stages * _slot(region, lanes) + inputs + partials + SLOTS <= arch.most_lds_bytes
    knows = shape.waves * arch.wave == THREADS or not region.stats or inputs_once(region, shape.waves, arch) is not None
    return room and knows


def _slot(region: LinearRegion, lanes: Mapping[str, OperandLanes]) -> int:
    """Bytes of an iteration's weights of a wave."""
    return max(TILE * found.stride for of in lanes.values() if (found := ring_lanes(of, region.k)))


def shape_of(region: LinearRegion, lanes: Mapping[str, OperandLanes], waves: int, arch: Arch) -> BlockShape | None:
    """Thread blocks where no row of the table of choices says how they lie; None: without a ring. waves: of all tiles.

    Measured on an H200, one row, weights from memory, us: 0.8B's matrices in q4_k 3.6 to 5.1 -> 2.2 to 4.3, heads 184 -> 166 and 54 -> 47, 9B's
    in q8_0 29, 9, 52 and 26 -> 19, 7, 33 and 18; 9B's output in q4_k, four times as large as 0.8B's, 5.2 -> 5.4."""
    weights = region.k * sum(part.n for part in region.parts)
    wide = any(of.loader and of.loader.bits >= BYTES for of in lanes.values())
    if not wide and FEW_WEIGHTS < weights and region.outputs < MANY_OUTPUTS:
        return None
    per_block = THREADS // arch.wave
    alone = waves <= per_block * arch.cards[-1].compute_units or region.outputs >= MANY_OUTPUTS
    shape = BlockShape(per_block, 1, False, 8) if alone and not wide else BlockShape(per_block, 2, False, 3)
    return shape if fits(region, lanes, shape, arch) else None


def inputs_once(region: LinearRegion, waves: int, arch: Arch) -> InputsOnce | None:
    """None: a thread would hold too many, or a statistic is of something else than the row."""
    runs = -(-region.k // (8 * waves * arch.wave))
    if not region.reads_its_row:
        return None
    own = -(-region.k // (8 * THREADS)) if region.stats and waves * arch.wave != THREADS else 0
    reads = tuple(
        SeenRead(
            number,
            text,
            bool(re.fullmatch(r"w\d+\[j\]", text)),
            own > 0 and any(text in stat.element for stat in region.stats),
        )
        for number, text in enumerate(region.reads)
    )
    if 8 * (runs * len(reads) + own * sum(read.reduced for read in reads)) > MOST_SEEN:
        return None
    load, elements = region.of_registers("seen")
    if own:
        _, elements = region.of_registers("own")
    return InputsOnce(reads, runs, own, load, elements)


def through_ring(
    bound: Bound[LinearRegion], arch: Arch, row: RowParams, lanes: Mapping[str, OperandLanes], stages: int
) -> Geometry:
    """row: how the kernel of one row would be without.  stages: iterations in a wave's ring."""
    slot = _slot(bound.region, lanes)
    shares = _shares(row.families, arch.cards[-1].compute_units * row.resident)
    tile = -(-bound.region.k // row.span) * row.span
    once = inputs_once(bound.region, row.waves, arch)
    params = RingParams(**vars(row) | {"tile": tile}, stages=stages, slot=slot, shares=shares, once=once)
    grid = (f"({bound.rows} == 1) * {shares[-1].stop}", "1", "1")
    return Geometry(
        RING, bound.name, grid, 0, params, lds_bytes=row.waves * stages * slot + 16 * (tile // 8 + row.zeros)
    )


def _shares(families: tuple[MatrixFamily, ...], slots: int) -> tuple[RingShare, ...]:
    """slots: blocks that the card holds. All make as many tiles, or one less."""
    rounds = -(-families[-1].stop // slots)
    made: list[RingShare] = []
    for family in families:
        tiles = family.stop - family.start
        made.append(RingShare(made[-1].stop if made else 0, -(-tiles // rounds), tiles))
    return tuple(made)


def ring_source(lanes: Mapping[str, OperandLanes], k: int) -> str:
    """C++ of how a ring holds these formats."""
    return "\n".join(_constants(of, k) for of in lanes.values())


def _constants(lanes: OperandLanes, k: int) -> str:
    ring = ring_lanes(lanes, k)
    assert ring, lanes.symbol
    nbytes = lanes.form.row_bytes(lanes.iter_elements * lanes.k_lanes)
    symbol = lanes.symbol.replace("_operands", "_ring")
    return f"struct {symbol} : {lanes.symbol} {{ enum {{ ITER_BYTES = {nbytes}, RING_CHUNKS = {ring.chunks}, RING_STRIDE = {ring.stride} }}; }};"

"""Launches of the gated delta rule: short segments by one kernel, long ones with their state's columns in parallel."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.delta.region import DeltaRegion
from hfc.backend.spec import Bound
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch
from hfc.target.roofline import launch_seconds
from hfc.target.state_block import MAX_THREADS

SHORT = 16  # segments of at most this many rows are one kernel's, longer ones several launches': what decodes is always the former
THREADS = 256
RESIDENT_THREADS = 768  # of a compute unit, with 80 registers each
WITH_JOURNAL = 512  # likewise, with 128: a second pass keeps more of them
REGISTERS, SIMDS = (
    216,
    4,
)  # of a lane with 64 elements of the state, and that run the waves of one block: whether several value heads fit it
SCALARS = 4  # of a row and head: scales of q and k, decay, beta; in delta_columns a thread brings one of one row
HEAD_US, JOIN_US = 6.0, 1.5  # of each further value head in one block, and of delta_join


@dataclass(frozen=True)
class DeltaParams(Params):
    """few: rows of the longest segment that this kernel serves; longer ones are the column kernels'.  split: lanes that share a column of
    the state, `depth` elements each, which are `fold` parts of the column: each part has the sums of a lane of its own.  heads: value heads of a key head that a block carries at once.  tokens: rows whose q, k, v and y lie
    in LDS together, `batch` of whose inputs are loaded together.  items: inputs that a thread convolves, one after the other."""

    few: int
    split: int
    depth: int
    fold: int
    heads: int
    tokens: int
    batch: int
    items: int
    first: bool

    @property
    def lanes(self) -> tuple[int, int]:
        """split and depth of kernels whose lanes hold one part."""
        return self.split * self.fold, self.depth // self.fold


@dataclass(frozen=True)
class DeltaPartsParams(Params):
    """split, depth, tokens, batch, items: as in DeltaParams.  columns: of a block, `column_blocks` make a head.
    once: all rows of a segment lie in LDS together.  resident: blocks that a compute unit must hold.  staged_stride: floats of a row in
    delta_rows."""

    split: int
    depth: int
    tokens: int
    batch: int
    items: int
    columns: int
    column_blocks: int
    once: bool
    resident: int
    staged_stride: int


@dataclass(frozen=True)
class DeltaJoinParams(Params):
    """waves: of a block.  channel_blocks: that replace a segment's window.  staged_stride: as in DeltaPartsParams."""

    waves: int
    channel_blocks: int
    staged_stride: int


@dataclass(frozen=True)
class DeltaStageParams(Params):
    """few: as in DeltaParams.  waves: of a block.  tile_rows: that a wave takes a head through.  staged_stride: floats of a row."""

    few: int
    waves: int
    tile_rows: int
    staged_stride: int


@dataclass(frozen=True)
class ColumnsParams(Params):
    """few, split, depth: as in DeltaParams.  tokens: rows in LDS together.  columns: of a block, `column_blocks` make a head.
    wide: heads begin at multiples of 16 bytes.  staged_stride: floats of a row."""

    few: int
    split: int
    depth: int
    tokens: int
    columns: int
    column_blocks: int
    wide: bool
    staged_stride: int


@dataclass(frozen=True)
class DeltaFinishParams(Params):
    """few: as in DeltaParams.  waves: of a block.  staged_stride: floats of a row."""

    few: int
    waves: int
    staged_stride: int


IN_REGISTERS = KernelLimits(128, "the state lies in registers by design; its rows are independent products")
DELTA = template(__file__, "delta", IN_REGISTERS, DeltaParams)
PARTS = template(__file__, "delta_parts", IN_REGISTERS, DeltaPartsParams)
JOIN = template(__file__, "delta_join", READS_AND_WRITES, DeltaJoinParams)
STAGE = template(__file__, "delta_stage", READS_AND_WRITES, DeltaStageParams)
COLUMNS = template(__file__, "delta_columns", IN_REGISTERS, ColumnsParams)
FINISH = template(__file__, "delta_finish", READS_AND_WRITES, DeltaFinishParams)


def decode(bound: Bound[DeltaRegion], arch: Arch) -> tuple[Geometry, ...]:
    """One launch, or two of many small blocks where the second costs little."""
    whole = _whole(bound, arch)
    assert isinstance(whole.params, DeltaParams)
    apart = whole.params.heads == 1 and comes_apart(bound.region, arch)
    return (_parts(bound, arch, whole), _join(bound, arch)) if apart else (whole,)


def comes_apart(region: DeltaRegion, arch: Arch) -> bool:
    """Where more value heads than one share a key head, and a second launch costs less than to take them one after the other.

    H200, tokens a second: 35B-A3B (two to a key head) 354 in one launch, 383 in two; 0.8B (one to a key head) 1,283 and 1,200.
    Predicted for gfx1100, us with the gaps: one to a key head 8.5 and 10.4, two 14.6 and 12.0, three 20.4 and 13.4."""
    serial_us = (region.v_heads // region.k_heads - 1) * HEAD_US
    return serial_us > launch_seconds(arch) * 1e6 + JOIN_US


def side_by_side(region: DeltaRegion, arch: Arch, split: int) -> int:
    """Value heads of a key head that one block carries at once: all, where it has threads and registers for them; else 1, one after the
    other, or in small blocks of a launch more.

    Predicted, us with the gaps, first one after the other or in two launches, then side by side with a lane for 32 elements of the state,
    then for 64: 9B (two to a key) on gfx1100 9.8, 6.7 and 5.3 (with what is wanted first asked for first), 27B (three) 13.4, - and 9.2."""
    heads = region.v_heads // region.k_heads
    waves = -(-heads * region.dv * split // arch.wave)
    fits = arch.wave == 32 and waves * arch.wave <= MAX_THREADS and waves <= SIMDS * arch.occupancy(REGISTERS)
    return heads if fits else 1


def prefill(bound: Bound[DeltaRegion], arch: Arch) -> tuple[Geometry, ...]:
    whole = _whole(bound, arch)
    assert isinstance(whole.params, DeltaParams)
    first = replace(whole, task="the short segments of")
    return first, _stage(bound, arch), _columns(bound, arch, whole.params), _finish(bound, arch)


def _whole(bound: Bound[DeltaRegion], arch: Arch) -> Geometry:
    """All of a region in one launch: a block a key head, as its value heads share a window."""
    region = bound.region
    # A column of the state is cut over neighbouring lanes so that each holds at most 32 of its elements; where registers are
    # few also until there are threads for all inputs of a head: 64-wide heads with a journal need 142 of 128 otherwise.
    split, inputs = 1, 2 * region.dk + region.dv
    while -(-region.dk // (4 * split)) * 4 > 32 or (
        arch.scarce_registers
        and region.dv * split < inputs
        and 8 * split <= region.dk
        and 2 * region.dv * split <= MAX_THREADS
    ):
        split *= 2
    fold = 2 if split > 1 and region.v_heads > region.k_heads else 1
    heads = side_by_side(region, arch, split // fold)
    split, fold = (split // fold, fold) if heads > 1 else (split, 1)
    inputs = 2 * region.dk + heads * region.dv
    block = -(-heads * region.dv * split // arch.wave) * arch.wave
    assert block <= MAX_THREADS and split <= arch.wave, (
        f"heads of {region.dk} x {region.dv} are not this kernel's: fuse_delta"
    )
    depth = -(-region.dk // (4 * fold * split)) * 4 * fold
    tokens = max(1, min(16, 32768 // (8 * (split * depth + heads * region.dv))))  # between barriers
    batch = min(tokens, arch.tuning.predicated_loads)
    crowded = arch.scarce_registers and (bool(region.journal) or region.v_heads > region.k_heads)
    first = arch.tuning.counts_loads and not crowded
    params = DeltaParams(SHORT, split, depth, fold, heads, tokens, batch, -(-inputs // block), first)
    return Geometry(DELTA, bound.name, (str(region.k_heads), "G", "1"), block, params)


def _parts(bound: Bound[DeltaRegion], arch: Arch, whole: Geometry) -> Geometry:
    """Blocks of few columns fill the card with one row: 128 of 9B's instead of 16."""
    region, same = bound.region, whole.params
    assert isinstance(same, DeltaParams), whole.symbol
    # Each input that a thread convolves takes registers: with a journal, blocks of 32 columns (three inputs a thread) need 146 of 128 on
    # gfx906 and gfx908, 64 (two) 135. A whole head has threads for all.
    least = region.dv if arch.scarce_registers and region.journal else 32
    split, depth = same.lanes
    columns = max(least, arch.wave // split)
    column_blocks, block = -(-region.dv // columns), columns * split
    has_room = arch.tuning.resident_blocks > 2  # on gfx1100 one row takes 3 % longer without the loop, predicted
    params = DeltaPartsParams(
        split=split,
        depth=depth,
        tokens=same.tokens,
        batch=same.batch,
        items=-(-(2 * region.dk + columns) // block),
        columns=columns,
        column_blocks=column_blocks,
        once=has_room and same.tokens >= SHORT,
        resident=max(1, (WITH_JOURNAL if region.journal else RESIDENT_THREADS) // block) if has_room else 1,
        staged_stride=_staged_stride(region),
    )
    return Geometry(
        PARTS,
        bound.name + "_parts",
        (str(region.v_heads * column_blocks), "G", "1"),
        block,
        params,
        scratch=(_staged(region, written=True),),
        task="carry the state through a few rows of",
    )


def _join(bound: Bound[DeltaRegion], arch: Arch) -> Geometry:
    region, waves = bound.region, THREADS // arch.wave
    channel_blocks = -(-region.channels // THREADS)
    return Geometry(
        JOIN,
        bound.name + "_join",
        (f"(T * {region.v_heads} + {waves - 1}) / {waves} + G * {channel_blocks}", "1", "1"),
        THREADS,
        DeltaJoinParams(waves, channel_blocks, _staged_stride(region)),
        scratch=(_staged(region, written=False),),
    )


def _stage(bound: Bound[DeltaRegion], arch: Arch) -> Geometry:
    region, tile_rows = bound.region, 8
    waves, vectors = THREADS // arch.wave, 2 * region.k_heads + region.v_heads
    grid = f"((T + {tile_rows - 1}) / {tile_rows} * {vectors} + {waves - 1}) / {waves}"
    return Geometry(
        STAGE,
        bound.name + "_stage",
        (grid, "1", "1"),
        THREADS,
        DeltaStageParams(SHORT, waves, tile_rows, _staged_stride(region)),
        scratch=(_staged(region, written=True),),
        task="convolve q, k and v of",
    )


def _columns(bound: Bound[DeltaRegion], arch: Arch, whole: DeltaParams) -> Geometry:
    """Blocks of few columns: even one long segment fills a card."""
    region = bound.region
    split, depth = whole.lanes
    columns = max(32, arch.wave // split)
    column_blocks = -(-region.dv // columns)
    block = columns * split
    tokens = 4 if arch.scarce_registers else arch.tuning.rows_in_flight  # loads on their way cost registers
    params = ColumnsParams(
        few=SHORT,
        split=split,
        depth=depth,
        tokens=min(tokens, block // SCALARS),
        columns=columns,
        column_blocks=column_blocks,
        wide=all(start % 4 == 0 for start in (region.q0, region.k0, region.v0, region.dk, region.dv)),
        staged_stride=_staged_stride(region),
    )
    return Geometry(
        COLUMNS,
        bound.name + "_columns",
        (str(region.v_heads * column_blocks), "G", "1"),
        block,
        params,
        scratch=(_staged(region, written=True),),
        task="carry the state through",
    )


def _finish(bound: Bound[DeltaRegion], arch: Arch) -> Geometry:
    waves = THREADS // arch.wave
    return Geometry(
        FINISH,
        bound.name + "_finish",
        (f"(T * {bound.region.v_heads} + {waves - 1}) / {waves}", "1", "1"),
        THREADS,
        DeltaFinishParams(SHORT, waves, _staged_stride(bound.region)),
        scratch=(_staged(bound.region, written=False),),
    )


def _staged_stride(region: DeltaRegion) -> int:
    """Floats of a row: q, k and v as the convolution has its channels; scales of q and k by key head, decay and beta by value head."""
    return -(-(region.channels + 2 * region.k_heads + 2 * region.v_heads) // 4) * 4


def _staged(region: DeltaRegion, written: bool) -> Scratch:
    return Scratch("delta_rows", "float", "f32", 4 * _staged_stride(region), written=written)

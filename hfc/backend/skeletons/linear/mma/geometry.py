"""Prefill on matrix units: tiles of rows x outputs. A first launch stages the inputs as pairs of f16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hfc.backend.lanes.loaders import PLAIN, LaneLoader, PlainLanes, half_loader, present, walk_loader
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.experts import different_inputs, pairs, row_tiles, sort
from hfc.backend.skeletons.linear.groups import group_blocks, refuses_words
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

EXACT_FORMATS = ("f16", "bf16")  # one f16 holds their values (of bf16 those in its range)
MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")
MOST_MATRICES = 2  # of one epilogue: their accumulators share a wave's registers
# of a tile: elements of K between two barriers, outputs; threads of a block
DEPTH, OUTPUTS, THREADS = 32, 128, 256
# of raw weights that find room in a lane beside the large tile's operands on gfx11, where every row is there twice
WORDS = 12
SMALL, LARGE = 64, 128  # rows of a tile
FILLED = 0.9  # of a card's compute units, with which large tiles are worth more than twice as many small ones
# f16 after each row in LDS: rows start 20 banks apart, so 8 lanes that read 16 bytes each meet all banks once
PADDING = 8
PAIRS = 2  # planes of an input: its high and its low part
SCALE = 8  # f16 after a staged row: its scale, its peak, and 16-byte alignment of the next
PEAK_SHARE = 8  # one over the part of a row's energy


@dataclass(frozen=True)
class MmaStageParams(Params):
    """waves: of a block.  shared_by: rows that have one input.  staged_stride: elements from one staged row to the next.
    half: type of MMA operands, f16 or bf16.  planes: 2, high and low parts, or 1, high parts alone.  run: neighbouring elements that each of four lanes multiplies, where
    inputs are staged in the order of the MMAs, see prompt_lanes; 0: as they are.  peak_share: a largest input with more than this part of
    its row's energy is multiplied by weights that are not rounded."""

    waves: int
    shared_by: int
    staged_stride: int
    half: str
    planes: int
    run: int
    peak_share: int = PEAK_SHARE


@dataclass(frozen=True)
class MatrixGroup:
    """Matrices of one block. distinct: the first of each format, if that is one for all; else all.  exact: weights are one f16 each.
    start: first block."""

    parts: tuple[Matrix, ...]
    distinct: tuple[Matrix, ...]
    exact: bool
    start: int


@dataclass(frozen=True)
class MmaParams(Params):
    """tile_rows, tile_outputs: of a block; depth: elements of K between barriers.  stride: f16 from one row in LDS to the next.
    partial: tiles of rows may be far from full.  staged_stride, shared_by: as in MmaStageParams.  buffers: tiles in LDS at a time.
    planes: of weights, two where one f16 does not hold them.  input_planes: see MmaStageParams.planes.  down, across: waves of a
    block.  parts_together: matrices of the largest
    group.  resident: blocks of a compute unit.  lanes_of: loader of each format."""

    tile_rows: int
    tile_outputs: int
    depth: int
    stride: int
    partial: bool
    staged_stride: int
    shared_by: int
    buffers: int
    planes: int
    input_planes: int
    down: int
    across: int
    parts_together: int
    resident: int
    lanes_of: Mapping[str, LaneLoader | PlainLanes]
    groups: tuple[MatrixGroup, ...]


STAGE = template(__file__, "mma_stage", READS_AND_WRITES, MmaStageParams)
MMA = template(
    __file__,
    "linear_mma",
    KernelLimits(
        128,
        "bound by arithmetic: a wave's products are independent, and a block's loads fly while it multiplies",
        narrowest=1,
        tunables=("tile_rows",),
    ),
    MmaParams,
)


def refuses(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    if not any(map(arch.has, MATRIX_FEATURES)):
        return f"{arch.name} has no matrix units for f16"
    if bound.region.together > MOST_MATRICES:
        return f"one epilogue joins {bound.region.together} matrices, more than {MOST_MATRICES}"
    return refuses_words(bound.region)


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    tiles = _tiles(bound, arch)
    assert isinstance(tiles[0].params, MmaParams)
    staging = stage(bound, arch, input_planes(bound.region))
    return *sort(bound, arch, tiles[0].params.tile_rows), staging, *tiles


def stage(bound: Bound[LinearRegion], arch: Arch, planes: int, half: str = "f16", run: int = 0) -> Geometry:
    """half: what the parts are made of. Matrix tiles take f16 whatever the weights are, a library that of the weights."""
    region = bound.region
    return Geometry(
        STAGE,
        bound.name
        + "_stage"
        + ("" if planes == PAIRS else "_high")
        + ("" if half == "f16" else f"_{half}")
        + (f"_run{run}" if run else ""),
        (different_inputs(bound), "1", "1"),
        THREADS,
        MmaStageParams(THREADS // arch.wave, region.input_shared_by, staged_stride(region, planes), half, planes, run),
        scratch=(staged(region, planes, written=True),),
        task="stage the inputs of",
    )


def input_planes(region: LinearRegion) -> int:
    """Parts of an input: high and low ones, or high ones alone."""
    return 1 if region.single_product else PAIRS


def staged_stride(region: LinearRegion, planes: int) -> int:
    """Elements from one staged row to the next."""
    return planes * region.k + SCALE


def staged(region: LinearRegion, planes: int, written: bool) -> Scratch:
    """The region's inputs in f16 (or bf16): high parts of a row, then low parts if there are any, then the row's scale as f32."""
    row_bytes = 2 * staged_stride(region, planes) * region.input_rows
    return Scratch("staged", "_Float16", "f16", row_bytes, written=written)


def _tiles(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Tiles of one size; of two where one product a weight leaves registers for the large one. Both add along K in one order, so that
    the number of rows may choose: the other's grid is empty."""
    region = bound.region
    of_format = walk_loader if region.single_product else half_loader
    loaders = {form.name: present(of_format(form)) if form.quantized else PLAIN for form in region.weight_formats}
    if not region.single_product:
        return (_tile(bound, arch, loaders, SMALL if _small(bound, arch, loaders) else LARGE),)
    if _needs_small(bound, arch, loaders):
        return (_tile(bound, arch, loaders, SMALL),)
    return by_rows(bound, arch, _tile(bound, arch, loaders, LARGE), _tile(bound, arch, loaders, SMALL))


def by_rows(bound: Bound[LinearRegion], arch: Arch, large: Geometry, small: Geometry) -> tuple[Geometry, Geometry]:
    """Large tiles, and small ones in their place where a step has few rows: the other's grid is empty."""
    most = _most_small_rows(bound.region, arch)
    return (
        replace(large, grid=(f"({large.grid[0]}) * ({bound.rows} > {most})", *large.grid[1:])),
        replace(
            small,
            symbol=small.symbol + "_small",
            grid=(f"({small.grid[0]}) * ({bound.rows} <= {most})", *small.grid[1:]),
        ),
    )


def _most_small_rows(region: LinearRegion, arch: Arch) -> int:
    """Rows up to which large tiles would leave some of the largest card's compute units without a block.

    H200, 9B in q4_k: with small tiles alone 32 / 128 / 512 rows take 22.7 / 24.4 / 54.4 ms, with large ones 24.8 / 27.1 / 49.8."""
    _, blocks = group_blocks(region, OUTPUTS // region.together)
    filling = -(-FILLED * arch.cards[-1].compute_units // blocks)
    return max(SMALL, int(filling - 1) * LARGE)


def _tile(
    bound: Bound[LinearRegion], arch: Arch, loaders: Mapping[str, LaneLoader | PlainLanes], tile_rows: int
) -> Geometry:
    """Eight waves of 32 lanes or four of 64 have 4 x 2 or 4 x 4 accumulators of 16 x 16 each, half of that in a small tile."""
    region = bound.region
    inputs = input_planes(region)
    exact = [inputs == 1 or all(part.format.name in EXACT_FORMATS for part in group) for group in region.groups]
    planes = 1 if all(exact) else 2
    starts, blocks = group_blocks(region, OUTPUTS // region.together)
    groups = tuple(MatrixGroup(g, distinct(g), e, s) for g, e, s in zip(region.groups, exact, starts))
    params = MmaParams(
        tile_rows=tile_rows,
        tile_outputs=OUTPUTS,
        depth=DEPTH,
        stride=DEPTH + PADDING,
        partial=_partial(bound),
        staged_stride=staged_stride(region, inputs),
        shared_by=region.input_shared_by,
        buffers=_buffers(arch, tile_rows, inputs, planes),
        planes=planes,
        input_planes=inputs,
        down=2,
        across=THREADS // arch.wave // 2,
        parts_together=region.together,
        resident=2,
        lanes_of=loaders,
        groups=groups,
    )
    return Geometry(
        MMA,
        bound.name + "_matrix",
        (row_tiles(bound, tile_rows), str(blocks), "1"),
        THREADS,
        params,
        promises=tuple(feature for feature in MATRIX_FEATURES if arch.has(feature)),
        loaders="\n".join(loader.source for loader in loaders.values()),
        scratch=(staged(region, inputs, written=False), *pairs(bound, written=False)),
        input_bits=11 * inputs,
    )


def _partial(bound: Bound[LinearRegion]) -> bool:
    """Tiles that are seldom full: rows of an expert, and those whose logits are wanted."""
    return bool(bound.region.top) or bound.rows == "R"


def _small(bound: Bound[LinearRegion], arch: Arch, loaders: Mapping[str, LaneLoader | PlainLanes]) -> bool:
    """Also where a usual step would give each compute unit one block only."""
    return _needs_small(bound, arch, loaders) or bound.region.outputs <= 8192


def _needs_small(bound: Bound[LinearRegion], arch: Arch, loaders: Mapping[str, LaneLoader | PlainLanes]) -> bool:
    """A small tile where registers are scarce, and for few rows."""
    crowded = arch.has("wmma_replicated") and any(
        loader.words > WORDS for loader in loaders.values() if loader is not PLAIN
    )
    return arch.scarce_registers or crowded or _partial(bound)


def _buffers(arch: Arch, tile_rows: int, input_planes: int, planes: int) -> int:
    """Tiles in LDS at a time. With two there is one barrier a tile, and a tile is put while the one before is multiplied.

    Two where the pair of compute units of RDNA, 128 KB, still holds two such blocks. Elsewhere (64 KB for a compute unit of
    CDNA, 48 KB static on NVIDIA) the second resident block does that, and the next tile waits in registers.
    """
    nbytes = 2 * (DEPTH + PADDING) * (input_planes * tile_rows + planes * OUTPUTS)
    return 2 if arch.paired_compute_units and 2 * nbytes <= arch.lds_bytes else 1


def distinct(group: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    """The first part of each format, if that is one for all; else all parts."""
    return group[:1] if len({part.format.name for part in group}) == 1 else group

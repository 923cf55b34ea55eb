"""Prefill on matrix units: tiles of rows x outputs. A first launch stages the inputs as pairs of f16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hfc.backend.lanes.loaders import PLAIN, LaneLoader, PlainLanes, half_loader
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.experts import pairs, row_tiles, sort
from hfc.backend.skeletons.linear.groups import group_blocks, refuses_words
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.target.arch import Arch

EXACT_FORMATS = ("f16", "bf16")  # one f16 holds their values (of bf16 those in its range)
MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")
MOST_MATRICES = 2  # of one epilogue: their accumulators share a wave's registers
# of a tile: elements of K between two barriers, outputs; threads of a block
DEPTH, OUTPUTS, THREADS = 32, 128, 256
# of raw weights that find room in a lane beside the large tile's operands on gfx11, where every line is there twice
WORDS = 12
# f16 behind each line in LDS: lines start 20 banks apart, so 8 lanes that read 16 bytes each meet all banks once
PADDING = 8
SCALE = 8  # f16 behind a staged row: its scale, and 16-byte alignment of the next


@dataclass(frozen=True)
class MmaStageParams(Params):
    """waves: of a block.  shared_by: rows that have one input.  staged_stride: elements from one staged row to the next.
    half: what the pairs are made of, f16 or bf16."""

    waves: int
    shared_by: int
    staged_stride: int
    half: str


@dataclass(frozen=True)
class MatrixGroup:
    """Matrices of one block. distinct: the first of each format, if that is one for all; else all.  exact: one f16 holds the weights.
    start: first block."""

    parts: tuple[Matrix, ...]
    distinct: tuple[Matrix, ...]
    exact: bool
    start: int


@dataclass(frozen=True)
class MmaParams(Params):
    """tile_rows, tile_outputs: of a block; depth: elements of K between barriers.  stride: f16 from one line in LDS to the next.
    partial: tiles of rows may be far from full.  staged_stride, shared_by: as in MmaStageParams.  buffers: tiles in LDS at a time.
    planes: of weights, two where one f16 does not hold them.  down, across: waves of a block.  parts_together: matrices of the largest
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
    return *sort(bound, arch, tiles.params.tile_rows), stage(bound, arch), tiles


def stage(bound: Bound[LinearRegion], arch: Arch, half: str = "f16") -> Geometry:
    """half: what the pairs are made of. Matrix tiles take f16 whatever the weights are, a library that of the weights."""
    region = bound.region
    shared = region.input_shared_by
    rows = bound.rows if shared == region.rows_per_row else f"{bound.rows} * {region.top}"
    return Geometry(
        STAGE,
        bound.name + ("_stage" if half == "f16" else f"_stage_{half}"),
        (rows, "1", "1"),
        THREADS,
        MmaStageParams(THREADS // arch.wave, shared, staged_stride(region), half),
        scratch=(staged(region, written=True),),
        task="stage the inputs of",
    )


def staged_stride(region: LinearRegion) -> int:
    """Elements from one staged row to the next."""
    return 2 * region.k + SCALE


def staged(region: LinearRegion, written: bool) -> Scratch:
    """The region's inputs as pairs of f16 (or bf16): high parts of a row, then low parts, then the row's scale as f32."""
    row_bytes = 2 * staged_stride(region) * region.input_rows
    return Scratch("staged", "_Float16", "f16", row_bytes, written=written)


def _tiles(bound: Bound[LinearRegion], arch: Arch) -> Geometry:
    """Eight waves of 32 lanes or four of 64 make 4 x 2 or 4 x 4 products of 16 x 16 each, half of that in a small tile."""
    region = bound.region
    loaders = {form.name: half_loader(form) if form.quantized else PLAIN for form in region.weight_formats}
    tile_rows = 64 if _small(bound, arch, loaders) else 128
    exact = [all(part.format.name in EXACT_FORMATS for part in group) for group in region.groups]
    planes = 1 if all(exact) else 2
    starts, blocks = group_blocks(region, OUTPUTS // region.together)
    groups = tuple(MatrixGroup(g, _distinct(g), e, s) for g, e, s in zip(region.groups, exact, starts))
    params = MmaParams(
        tile_rows=tile_rows,
        tile_outputs=OUTPUTS,
        depth=DEPTH,
        stride=DEPTH + PADDING,
        partial=_partial(bound),
        staged_stride=staged_stride(region),
        shared_by=region.input_shared_by,
        buffers=_buffers(arch, tile_rows, planes),
        planes=planes,
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
        scratch=(staged(region, written=False), *pairs(bound, written=False)),
    )


def _partial(bound: Bound[LinearRegion]) -> bool:
    """Tiles that are seldom full: rows of an expert, and those whose logits are wanted."""
    return bool(bound.region.top) or bound.rows == "R"


def _small(bound: Bound[LinearRegion], arch: Arch, loaders: Mapping[str, LaneLoader | PlainLanes]) -> bool:
    """A small tile where registers are few, where a usual step would give each compute unit one block only, and for few rows."""
    crowded = arch.has("wmma_replicated") and any(
        loader.words > WORDS for loader in loaders.values() if loader is not PLAIN
    )
    return arch.scarce_registers or crowded or _partial(bound) or bound.region.outputs <= 8192


def _buffers(arch: Arch, tile_rows: int, planes: int) -> int:
    """Tiles in LDS at a time. With two there is one barrier a tile, and a tile is put while the one before is multiplied.

    Two where the pair of compute units of RDNA, 128 KB, still holds two such blocks. Elsewhere (64 KB for a compute unit of
    CDNA, 48 KB static on NVIDIA) the second resident block does that, and the next tile waits in registers.
    """
    nbytes = 2 * (DEPTH + PADDING) * (2 * tile_rows + planes * OUTPUTS)
    return 2 if arch.paired_compute_units and 2 * nbytes <= arch.lds_bytes else 1


def _distinct(group: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    """The first part of each format, if that is one for all; else all parts."""
    return group[:1] if len({part.format.name for part in group}) == 1 else group

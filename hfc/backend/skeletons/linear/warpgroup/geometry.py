"""Prompts on Hopper's matrix units (wgmma): weights become f16 in registers, inputs come into LDS by asynchronous copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hfc.backend.lanes.operands import OperandLanes, operand_source, prompt_lanes
from hfc.backend.shape import Geometry
from hfc.backend.skeletons.linear.experts import row_tiles
from hfc.backend.skeletons.linear.groups import group_blocks
from hfc.backend.skeletons.linear.mma.geometry import MOST_MATRICES, stage, staged, staged_stride
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

FEATURE = "wgmma_f16"
WARPGROUP_OUTPUTS = 64  # weight rows that a warpgroup multiplies (M of wgmma)
SMALL, LARGE = 64, 128  # rows of a tile
STAGES = 3  # tiles of inputs in LDS: two are on their way while one is multiplied; 48 KiB of 128 rows
LARGE_ROUND = 1.44  # of the time in which a card that is full of small tiles makes them, when it is full of large ones: H200, q4_k
REST = 0.125  # of a round: so few large tiles take as long as 0.84 of a whole one
PLANNED = 1024  # rows; of more the last counts


@dataclass(frozen=True)
class WarpgroupMatrices:
    """Matrices of one block, of one format. start: first block.  iter_elements: elements of K of one iteration of the K loop."""

    parts: tuple[Matrix, ...]
    lanes: OperandLanes
    iter_elements: int
    start: int


@dataclass(frozen=True)
class WarpgroupParams(Params):
    """tile_rows: of a block.  warpgroups: of a block.  stages: tiles of inputs in LDS.  resident: blocks of a multiprocessor.
    ahead: weights are prefetched, before the last MMAs of the iteration before.  staged_stride: elements from one staged row to the
    next.  parts_together: matrices of an epilogue.  blocks: of all outputs, of a grid that may make
    the last ones alone; 0: it makes the first ones."""

    tile_rows: int
    warpgroups: int
    stages: int
    resident: int
    ahead: bool
    staged_stride: int
    parts_together: int
    blocks: int
    groups: tuple[WarpgroupMatrices, ...]


WARPGROUP = template(
    __file__,
    "linear_warpgroup",
    KernelLimits(128, "bound by arithmetic: two blocks alternate on the matrix units", narrowest=1),
    WarpgroupParams,
)


def refuses(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    region = bound.region
    if not arch.has(FEATURE):
        return f"{arch.name} has no products of warpgroups"
    if not region.single_product:
        return "the profile wants pairs of f16"
    if region.top:
        return "experts have few rows each"
    if region.together > MOST_MATRICES or any(len({part.format.name for part in group}) > 1 for group in region.groups):
        return "one epilogue joins more than two matrices, or two of different formats"
    lanes = prompt_lanes(region.weight_formats)
    if lanes is None or any(region.k % (of.iter_elements * of.k_lanes) for of in lanes.values()):
        names = ", ".join(form.name for form in region.weight_formats)
        return f"{names} with K of {region.k}: lanes cannot take 8 neighbours of K at a time"
    return None


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Large tiles or small ones, or small ones for the outputs that would be a last round of few large ones: all add in one order, so
    the number of rows may choose."""
    lanes = prompt_lanes(bound.region.weight_formats)
    assert lanes, bound.name
    large, small = _tile(bound, lanes, LARGE, 2), _tile(bound, lanes, SMALL, 1)
    shares = [_share(bound.region, rows, arch.cards[-1].compute_units) for rows in range(SMALL, PLANNED + 1, SMALL)]
    many, few = (_by_rows(bound.rows, [share[at] for share in shares]) for at in (0, 1))
    return (
        stage(bound, arch, 1, run=next(iter(lanes.values())).map.run),
        replace(large, grid=(f"({large.grid[0]}) * (({many}) > 0)", many, "1")),
        replace(small, symbol=small.symbol + "_small", grid=(f"({small.grid[0]}) * (({few}) > 0)", few, "1")),
    )


def _share(region: LinearRegion, rows: int, units: int) -> tuple[int, int]:
    """Blocks of outputs that large tiles make of so many rows, and those that small tiles make."""
    larges, smalls = (group_blocks(region, n * WARPGROUP_OUTPUTS // region.together)[1] for n in (2, 1))
    tiles, slots = -(-rows // LARGE), 2 * units
    rounds, rest = divmod(tiles * larges, slots)
    small_blocks = -(-rows // SMALL) * smalls
    if -(-small_blocks // (2 * slots)) < (rounds + (rest > 0)) * LARGE_ROUND:
        return 0, smalls
    left = -(-rest // tiles)
    if not rounds or not 0 < rest <= REST * slots or len(region.groups) > 1:
        return larges, 0
    return larges - left, smalls - 2 * (larges - left)


def _by_rows(rows: str, counts: list[int]) -> str:
    """A grid expression: counts[i] for up to (i + 1) * SMALL rows, the last one for more."""
    changes = [
        (at * SMALL, count - counts[at - 1]) for at, count in enumerate(counts) if at and count != counts[at - 1]
    ]
    steps = [f" {'+' if by > 0 else '-'} ({rows} > {at}) * {abs(by)}" for at, by in changes]
    return str(counts[0]) + "".join(steps)


def _tile(bound: Bound[LinearRegion], lanes: Mapping[str, OperandLanes], tile_rows: int, warpgroups: int) -> Geometry:
    region = bound.region
    starts, blocks = group_blocks(region, warpgroups * WARPGROUP_OUTPUTS // region.together)
    groups = tuple(
        WarpgroupMatrices(group, of, of.iter_elements * of.k_lanes, start)
        for group, start in zip(region.groups, starts)
        for of in [lanes[group[0].format.name]]
    )
    sources = dict.fromkeys(of.loader.source for of in lanes.values() if of.loader)
    params = WarpgroupParams(
        tile_rows=tile_rows,
        warpgroups=warpgroups,
        stages=STAGES,
        resident=4 // warpgroups,
        ahead=tile_rows == SMALL,  # the sums of a large tile leave no registers for it
        staged_stride=staged_stride(region, 1),
        parts_together=region.together,
        blocks=blocks if tile_rows == SMALL else 0,
        groups=groups,
    )
    return Geometry(
        WARPGROUP,
        bound.name + "_warpgroup",
        (row_tiles(bound, tile_rows), str(blocks), "1"),
        128 * warpgroups,
        params,
        promises=(FEATURE,),
        loaders="\n".join([*sources, *(operand_source(of, region.k, 0) for of in lanes.values())]),
        scratch=(staged(region, 1, written=False),),
        input_bits=11,
    )

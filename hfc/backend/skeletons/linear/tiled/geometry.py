"""Prefill without matrix units: tiles of rows x outputs through LDS. Serves every region."""

from __future__ import annotations

from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.experts import different_inputs, pairs, row_tiles, sort
from hfc.backend.skeletons.linear.groups import group_blocks
from hfc.backend.skeletons.linear.limits import allowances_for_elements
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound, Stat
from hfc.backend.template import READS_AND_WRITES, Allowance, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256


@dataclass(frozen=True)
class RotateParams(Params):
    """waves: of a block.  shared_by: rows that have one input."""

    waves: int
    shared_by: int


@dataclass(frozen=True)
class TiledParams(Params):
    """tile_rows, tile_outputs: of a block; depth: elements of K between barriers.  starts: first block of each group.
    input, input_stats: the region's prologue, or what reads the inputs that an earlier launch rotated."""

    tile_rows: int
    tile_outputs: int
    depth: int
    starts: tuple[int, ...]
    groups: tuple[tuple[Matrix, ...], ...]
    input: str
    input_stats: tuple[Stat, ...]


ROTATE = template(__file__, "rotate_inputs", READS_AND_WRITES, RotateParams)
TILED = template(
    __file__,
    "linear_tiled",
    KernelLimits(
        128,
        "bound by arithmetic: the 16 sums of a lane are independent, and two blocks of a CU cover each other's barriers",
        narrowest=2,
        tunables=("tile_rows", "tile_outputs", "depth"),
        allowances=(
            Allowance(
                "lanes",
                64,
                "two zipped parts of a k-quant need up to 140 of 256 registers; a block of 256 threads still puts one wave on each SIMD",
                arch=lambda arch: arch.scarce_registers,
            ),
            *allowances_for_elements("the compiler cannot join them"),
        ),
    ),
    TiledParams,
)


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    tiles = _tiles(bound)
    assert isinstance(tiles.params, TiledParams)
    return *sort(bound, arch, tiles.params.tile_rows), *_rotate(bound, arch), tiles


def _rotate(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    """A launch that rotates the inputs of rotated weights: tiles would do it again for each block of outputs."""
    region = bound.region
    if not region.rotate:
        return ()
    return (
        Geometry(
            ROTATE,
            bound.name + "_rotate",
            (different_inputs(bound), "1", "1"),
            THREADS,
            RotateParams(THREADS // arch.wave, region.input_shared_by),
            scratch=(_rotated(region, written=True),),
            task="rotate the inputs of",
        ),
    )


def _rotated(region: LinearRegion, written: bool) -> Scratch:
    return Scratch("rotated", "float", "f32", 4 * region.k * region.input_rows, written=written)


def _tiles(bound: Bound[LinearRegion]) -> Geometry:
    # Every thread makes 4 x 4 outputs: 8 LDS reads for 16 products. More matrices at once would need more registers, and
    # an expert has few rows: 16 of a prompt of 512 among 256 experts of which 8 are chosen.
    region = bound.region
    tile_rows, tile_outputs = 32 if region.top else 64, 64
    if region.zipped and len(region.parts) > 2:
        tile_outputs = 32
    starts, blocks = group_blocks(region, tile_outputs)
    load, stats, scratch = region.load, region.stats, pairs(bound, written=False)
    if region.rotate:
        shared = region.input_shared_by
        input_row = f"(row / {shared})" if shared > 1 else "row"
        load, stats = f"rotated[(size_t){input_row} * {region.k} + j]", ()
        scratch = (*scratch, _rotated(region, written=False))
    return Geometry(
        TILED,
        bound.name + "_tiled",
        (str(blocks), row_tiles(bound, tile_rows), "1"),
        THREADS,
        TiledParams(tile_rows, tile_outputs, 32, starts, region.groups, load, stats),
        scratch=scratch,
        input_bits=24,
    )

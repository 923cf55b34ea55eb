"""Rows that choose experts, in prefill: a first launch sorts the (token, choice) pairs by expert, so that a tile's rows share theirs."""

from __future__ import annotations

from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256


@dataclass(frozen=True)
class SortParams(Params):
    """tile_rows: most pairs of a tile.  waves: of a block."""

    tile_rows: int
    waves: int


SORT = template(
    __file__, "expert_sort", KernelLimits(256, "counts and writes: only many lanes hide the latency"), SortParams
)


def sort(bound: Bound[LinearRegion], arch: Arch, tile_rows: int) -> tuple[Geometry, ...]:
    """A block an expert: each counts all experts' pairs and so needs nothing from the others. () without experts."""
    if not bound.region.top:
        return ()
    return (
        Geometry(
            SORT,
            bound.name + "_sort",
            (str(bound.region.expert_count), "1", "1"),
            THREADS,
            SortParams(tile_rows, THREADS // arch.wave),
            scratch=pairs(bound, written=True),
            task="sort the pairs of",
        ),
    )


def pairs(bound: Bound[LinearRegion], written: bool) -> tuple[Scratch, ...]:
    """int32: the number of tiles; the pairs by expert; expert, first and end of each tile (there are no more than pairs)."""
    top = bound.region.top
    return (Scratch("pairs", "int32_t", "i32", 4 * (1 + 4 * top), written=written),) if top else ()


def row_tiles(bound: Bound[LinearRegion], tile_rows: int) -> str:
    """Grid expression of the tiles of rows; with experts the most that there can be, each expert's last may be short."""
    if not bound.region.top:
        return f"({bound.rows} + {tile_rows - 1}) / {tile_rows}"
    return f"{bound.rows} * {bound.region.top} / {tile_rows} + {bound.region.expert_count}"


def different_inputs(bound: Bound[LinearRegion]) -> str:
    """Grid expression of the inputs that a launch stages: one a row, or one for each expert that a row chooses."""
    region = bound.region
    return bound.rows if region.input_shared_by == region.rows_per_row else f"{bound.rows} * {region.top}"

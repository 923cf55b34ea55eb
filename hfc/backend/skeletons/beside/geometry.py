"""The launches of regions side by side: the first of each region share one, then the second ones."""

from __future__ import annotations

from collections.abc import Iterable

from hfc.backend.body import Printer
from hfc.backend.members import launches_of_members
from hfc.backend.shape import BESIDE, Geometry
from hfc.backend.skeletons.beside.region import BesideRegion
from hfc.backend.spec import Bound
from hfc.backend.template import Params
from hfc.bundles.grid import grid_value
from hfc.ir.graph import Op
from hfc.ir.members import members_of
from hfc.target.arch import Arch

ONE_ROW = {"T": 1, "R": 1, "G": 1, "C": 1}
MOST_POINTERS = 64  # pointers of a kernel


def bind(joined: Op, printer: Printer) -> Bound[BesideRegion]:
    """It has no pointers of its own: its members are bound each by itself."""
    stems = dict.fromkeys(member.attrs["stem"] for member in members_of(joined))
    return Bound("beside", "_".join(["beside", *stems]), (), "T", BesideRegion())


def refuses(bound: Bound[BesideRegion], arch: Arch) -> str | None:
    return None if any(len(one) > 1 for one in _cut(bound, arch)) else "no two of them can share a launch"


def launches(bound: Bound[BesideRegion], arch: Arch) -> tuple[Geometry, ...]:
    made = _cut(bound, arch)
    return tuple(
        _part(bound, one, number, number == len(made)) if len(one) > 1 else one[0] for number, one in enumerate(made, 1)
    )


def launches_of_one_row(bound: Bound[BesideRegion], arch: Arch) -> list[tuple[Geometry, ...]]:
    """Those that are not empty for one row, each with the kernels that share it."""
    return [shared for shared in _cut(bound, arch) if _serves_one_row(shared[0])]


def _cut(bound: Bound[BesideRegion], arch: Arch) -> list[tuple[Geometry, ...]]:
    return side_by_side(bound, launches_of_members(bound, arch, "decode"), arch)


def side_by_side(bound: Bound, series: Iterable[tuple[Geometry, ...]], arch: Arch) -> list[tuple[Geometry, ...]]:
    """Launches in order, those that share one together: what serves one row, the first of each series, then the second ones. What serves
    more rows alone comes before them, as its series has it."""
    waiting = [list(launches) for launches in series]
    found: list[tuple[Geometry, ...]] = []
    while any(waiting):
        for launches in waiting:
            while launches and not _serves_one_row(launches[0]):
                found.append((launches.pop(0),))
        found += _packed([launches.pop(0) for launches in waiting if launches], bound, arch)
    return found


def _serves_one_row(one: Geometry) -> bool:
    return all(grid_value(axis, ONE_ROW) for axis in one.grid)


def _packed(launches: list[Geometry], bound: Bound, arch: Arch) -> list[tuple[Geometry, ...]]:
    """Each with the first ones that leave it room."""
    packs: list[tuple[Geometry, ...]] = []
    for one in launches:
        at = next((at for at, pack in enumerate(packs) if _fits((*pack, one), bound, arch)), len(packs))
        packs[at : at + 1] = [(*(packs[at] if at < len(packs) else ()), one)]
    return packs


def _fits(pack: tuple[Geometry, ...], bound: Bound, arch: Arch) -> bool:
    """They use no memory together, LDS lets a compute unit hold two blocks, and the blocks of all but one are known before the context is."""
    names = [scratch.name for one in pack for scratch in one.scratch]
    declared = [one.declared for one in pack]
    pointers = sum(len(bound.served(one.member).args) + len(one.scratch) for one in pack)
    return (
        len(set(names)) == len(names)
        and sum(declared) <= max(*declared, min(arch.lds_bytes, arch.most_lds_bytes // 2))
        and pointers <= MOST_POINTERS
        and not any(one.lds_bytes for one in pack)
        and sum(map(_goes_by_context, pack)) <= 1
        and not any("C" in one.grid[0] + one.grid[2] for one in pack)
    )


def _goes_by_context(one: Geometry) -> bool:
    return "C" in one.grid[1]


def _part(bound: Bound[BesideRegion], shared: tuple[Geometry, ...], number: int, is_last: bool) -> Geometry:
    symbol, task = (bound.name, "") if is_last else (f"{bound.name}_{number}", f"do part {number} of")
    return one_launch(shared, symbol, task)


def one_launch(shared: tuple[Geometry, ...], symbol: str, task: str) -> Geometry:
    """task: as in Geometry. The launch whose blocks go by the context stands last: it has what is left of the grid."""
    shared = tuple(sorted(shared, key=_goes_by_context))
    grid = " + ".join("*".join(f"({axis})" for axis in one.grid if axis != "1") or "1" for one in shared)
    return Geometry(
        BESIDE,
        symbol,
        (grid, "1", "1"),
        max(one.block for one in shared),
        Params(),
        promises=tuple(dict.fromkeys(feature for one in shared for feature in one.promises)),
        task=task,
        counts=tuple(number for one in shared for number in one.counts or _whole(one)),
        beside=shared,
        input_bits=min((one.input_bits for one in shared if one.input_bits), default=0),
    )


def _whole(one: Geometry) -> tuple[int, ...]:
    """The member whose work a launch does, and not just something for it."""
    return () if one.task or one.member is None else (one.member,)

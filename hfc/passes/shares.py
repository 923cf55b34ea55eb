"""How ranks share out an axis: runs of units one behind the other, of each run a consecutive part for every rank.

a query projection of 8 heads of 128:  (AxisRun(1024, 8, HEADS),)
q, k and v of a DeltaNet side by side: (AxisRun(2048, 16, HEADS), AxisRun(2048, 16, HEADS), AxisRun(4096, 32, HEADS))
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

from hfc.base.dataclass import dataclass

FREE, BLOCKS, HEADS = (
    "free",
    "blocks",
    "heads",
)  # why the units are what they are: nothing asks, a format's blocks, heads
LARGEST_UNIT = 256  # elements: kernels like pieces of whole tiles


@dataclass(frozen=True)
class AxisRun:
    """`size` elements in `units` equal units, which stay whole."""

    size: int
    units: int
    kind: str

    @property
    def unit(self) -> int:
        return self.size // self.units

    def part(self, rank: int, ranks: int) -> tuple[int, int]:
        """First and last + 1 of its elements that a rank has. Where there are fewer heads than ranks, several have the same."""
        if self.is_repeated(ranks):
            first = rank * self.units // ranks
            return first * self.unit, (first + 1) * self.unit
        return self.units * rank // ranks * self.unit, self.units * (rank + 1) // ranks * self.unit

    def is_repeated(self, ranks: int) -> bool:
        return self.kind == HEADS and self.units < ranks and ranks % self.units == 0

    def fits(self, ranks: int) -> bool:
        """Every rank gets something of it, and of heads as many as others."""
        if self.kind == HEADS:
            return self.units % ranks == 0 or self.is_repeated(ranks)
        return self.units >= ranks


Share = tuple[AxisRun, ...]


def free_share(size: int, ranks: int) -> Share:
    """Of an axis that nothing asks anything of: in as large units as give every rank as many."""
    units = [LARGEST_UNIT >> n for n in range(LARGEST_UNIT.bit_length())]
    whole = [unit for unit in units if size % unit == 0]
    even = next((unit for unit in whole if size // unit % ranks == 0), None)
    unit = even or next((unit for unit in whole if size // unit >= ranks), 1)
    return (AxisRun(size, size // unit, FREE),)


def size_of(share: Share) -> int:
    return sum(run.size for run in share)


def pieces(share: Share, rank: int, ranks: int) -> tuple[tuple[int, int], ...]:
    """What a rank has of the axis, as ranges [first, end)."""
    found: list[tuple[int, int]] = []
    at = 0
    for run in share:
        first, end = run.part(rank, ranks)
        if found and found[-1][1] == at + first:
            found[-1] = found[-1][0], at + end
        else:
            found.append((at + first, at + end))
        at += run.size
    return tuple(found)


def local_size(share: Share, rank: int, ranks: int) -> int:
    return sum(end - first for first, end in pieces(share, rank, ranks))


def scaled(share: Share, by: Fraction) -> Share | None:
    """The same of an axis `by` times as long; None where a unit would be no whole number of elements."""
    made = []
    for run in share:
        size = run.size * by
        if size.denominator != 1 or int(size) % run.units:
            return None
        made.append(replace(run, size=int(size)))
    return tuple(made)


def cut(share: Share, at: int) -> Share | None:
    """With a border between runs `at` elements from its begin; None where that would cut a unit that something asked for."""
    made: list[AxisRun] = []
    begin = 0
    for run in share:
        if not begin < at < begin + run.size:
            made.append(run)
        elif run.kind == FREE:
            made += (AxisRun(size, size, FREE) for size in (at - begin, begin + run.size - at))
        else:
            return None
        begin += run.size
    return tuple(made)


def section(share: Share, first: int, end: int) -> Share | None:
    """Its runs between two borders; None where there is no border."""
    found: list[AxisRun] = []
    begin = 0
    for run in share:
        if first <= begin and begin + run.size <= end:
            found.append(run)
        begin += run.size
    return tuple(found) if size_of(tuple(found)) == end - first else None


def in_units(share: Share, unit: int, kind: str) -> Share | None:
    """In units of a multiple of `unit` elements; None where that cannot be."""
    found = []
    for run in share:
        if run.kind == HEADS and kind == BLOCKS:
            found.append(run)  # whether heads end where blocks do is asked when they are shared out
            continue
        least = math.lcm(run.unit, unit)
        if run.kind == FREE and (kind == HEADS or run.size % least):
            least = unit
        if run.size % least:
            return None
        found.append(AxisRun(run.size, run.size // least, HEADS if HEADS in (run.kind, kind) else kind))
    return tuple(found)


def united(a: Share, b: Share) -> Share | None:
    """What both ask for, of one axis; None where they contradict each other."""
    if size_of(a) != size_of(b):
        return None
    if len(a) == len(b):
        pairs = [_united(one, other) for one, other in zip(a, b)]
        return None if any(run is None for run in pairs) else tuple(run for run in pairs if run)
    one, several = (a, b) if len(a) < len(b) else (b, a)
    if len(one) > 1 or any(run.unit % one[0].unit for run in several if one[0].kind != FREE):
        return None
    return several


def _united(a: AxisRun, b: AxisRun) -> AxisRun | None:
    if a.size != b.size:
        return None
    if FREE in (a.kind, b.kind):
        return b if a.kind == FREE else a
    unit = math.lcm(a.unit, b.unit)
    if a.size % unit:
        return None
    return AxisRun(a.size, a.size // unit, HEADS if HEADS in (a.kind, b.kind) else BLOCKS)

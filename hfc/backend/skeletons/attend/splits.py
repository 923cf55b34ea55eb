"""How a context is cut into splits (splits.j2), and where what each makes of a row waits to be joined."""

from __future__ import annotations

from hfc.backend.shape import Scratch
from hfc.backend.skeletons.attend.region import AttendRegion
from hfc.step import DECODE_ROWS

EVEN_SPLITS, SPLITS_OF_A_SIZE = 64, 32  # splits.j2 has the same numbers


def splits_of(region: AttendRegion) -> tuple[int, int]:
    """Positions of the first splits (about 128 kB of f16; splits.j2 says how they grow), and how many splits a whole context has. They begin
    at the same positions whatever a step looks like."""
    split = min(512, max(128, 128 * 256 // power_above(region.size)))
    return split, sum(count for _, _, count in _split_sizes(split, region.capacity))


def _split_sizes(split: int, capacity: int) -> list[tuple[int, int, int]]:
    """Splits of one size: where they begin, their positions, how many."""
    found, begin, size, count = [], 0, split, EVEN_SPLITS
    while begin < capacity:
        found.append((begin, size, min(count, -(-(capacity - begin) // size))))
        begin, size, count = begin + size * count, 2 * size, SPLITS_OF_A_SIZE
    return found


def split_count(region: AttendRegion) -> str:
    """A step's splits end with its longest context, not with the plan's."""
    counts = []
    for begin, size, count in _split_sizes(splits_of(region)[0], region.capacity):
        some = f"(C + {size - 1 - begin})" if begin < size else f"(C - {begin - size + 1})"
        whole = f"{begin + size * (count - 1)}"
        counts.append(f"(C > {begin}) * (C <= {whole}) * ({some} / {size}) + (C > {whole}) * {count}")
    return " + ".join(counts)


def split_scratch(region: AttendRegion, written: bool) -> Scratch:
    """For each row, head and split: the sum of values, then maximum and weight."""
    row_bytes = region.heads * splits_of(region)[1] * (region.size + 4) * 4
    return Scratch("attend_splits", "float", "f32", row_bytes, DECODE_ROWS, written)


def power_above(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()

"""The weights of a linear region as thread blocks see them: which belong together, which block makes which outputs."""

from __future__ import annotations

from hfc.backend.spec import Bound, Part
from hfc.formats.lanes import LINE, half_loader, lane_loader

PLAIN_FORMATS = ("f32", "f16", "bf16")  # with a run loader in device/codes.h


def in_lines(bound: Bound) -> bool:
    """Whether lanes can take 32 elements of every weight at once."""
    formats = [part.format for part in bound.extra["parts"]]
    known = all(lane_loader(f) and half_loader(f) if f.quantized else f.name in PLAIN_FORMATS for f in formats)
    return bound.extra["k"] % LINE.elements == 0 and known


def groups(bound: Bound) -> list[list[Part]]:
    """Parts that one thread block works on together: all when zipped, else each alone."""
    parts = bound.extra["parts"]
    return [parts] if bound.extra["zipped"] else [[part] for part in parts]


def part_blocks(bound: Bound, outputs: int) -> tuple[list[int], int]:
    """First block of each group, and the number of blocks; a block makes `outputs` of every part of its group."""
    counts = [-(-group[0].n // outputs) for group in groups(bound)]
    return [sum(counts[:i]) for i in range(len(counts))], sum(counts)

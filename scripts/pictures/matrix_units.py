"""Which lane of a wave holds what of a 16 x 16 x 16 product, on each kind of matrix unit.

tests/isa/test_isa_lanes.py asks the emulator the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.pictures.drawing import INK, SERIES, rect, svg, text

SIZE, CELL = 16, 17
GROUP = 16  # neighbouring lanes that hold different rows of A, or columns of the sums


@dataclass(frozen=True)
class Layout:
    """operand: (lane, element) -> (row of A, k).  total: (lane, register) -> (row, column) of the sums.  Elements are f16, registers f32."""

    name: str
    archs: str
    lanes: int
    elements: int
    registers: int
    operand: Callable[[int, int], tuple[int, int]]
    total: Callable[[int, int], tuple[int, int]]


LAYOUTS = (
    Layout(
        "WMMA of RDNA 3", "gfx11", 32, 16, 8,
        operand=lambda lane, element: (lane % 16, element),
        total=lambda lane, register: (2 * register + lane // 16, lane % 16),
    ),
    Layout(
        "WMMA of RDNA 4", "gfx12", 32, 8, 8,
        operand=lambda lane, element: (lane % 16, lane // 16 * 8 + element),
        total=lambda lane, register: (lane // 16 * 8 + register, lane % 16),
    ),
    Layout(
        "MFMA of CDNA", "gfx908 to gfx950", 64, 4, 4,
        operand=lambda lane, element: (lane % 16, lane // 16 * 4 + element),
        total=lambda lane, register: (lane // 16 * 4 + register, lane % 16),
    ),
)  # fmt: skip


def operands() -> str:
    """A: rows down, k across; a color for each group of 16 lanes."""
    return _three("Lanes that hold each element of A", "k", lambda layout: (layout.operand, layout.elements), "element")


def sums() -> str:
    """The sums: rows down, columns across."""
    return _three("Lanes that hold each sum", "column", lambda layout: (layout.total, layout.registers), "register")


def _three(
    title: str, across: str, part: Callable[[Layout], tuple[Callable[[int, int], tuple[int, int]], int]], item: str
) -> str:
    parts, step = [], SIZE * CELL + 60
    for number, layout in enumerate(LAYOUTS):
        left, top = 40 + step * number, 62
        place, count = part(layout)
        parts += [
            text(left, 18, layout.name),
            text(left, 36, f"{layout.archs}: {layout.lanes} lanes, {count} {item}s each", INK),
            text(left - 6, top - 6, f"row, {across} \N{RIGHTWARDS ARROW}", INK),
            *_grid(left, top, layout.lanes, count, place),
        ]
    return svg(40 + step * len(LAYOUTS), 62 + SIZE * CELL + 16, title, parts)


def _grid(left: int, top: int, lanes: int, count: int, place: Callable[[int, int], tuple[int, int]]) -> list[str]:
    """Every cell with the number of its item within the lane; its color says which group of lanes holds it."""
    holders: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for lane in range(lanes):
        for number in range(count):
            holders.setdefault(place(lane, number), []).append((lane // GROUP, number))
    parts, labels = [], ['<g font-size="9" fill="white" text-anchor="middle">']
    for (row, column), found in sorted(holders.items()):
        x, y = left + column * CELL, top + row * CELL
        height = (CELL - 1) / len(found)  # held twice: both colors
        parts += [rect(x, y + height * i, CELL - 1, height, SERIES[group]) for i, (group, _) in enumerate(found)]
        labels.append(f'<text x="{x + CELL / 2 - 0.5:g}" y="{y + 12}">{found[0][1]}</text>')
    return [*parts, *labels, "</g>"]

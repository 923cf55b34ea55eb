"""What drafts bring by kind of text: the tables of docs/bench/dflash.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scripts.pictures.drawing import INK, SERIES, line, svg, text

PAGE = Path(__file__).parents[2] / "docs/bench/dflash.md"
SECTION = "## A trained target and draft"
KINDS = ("code", "held-out code", "held-out, repetitive", "edit", "docstrings", "prose")


@dataclass(frozen=True)
class Row:
    """A line of the table. accepted: share of the drafted tokens that were right."""

    kind: str
    drafts: str
    speedup: float
    low: float
    high: float
    cycle: float
    accepted: float


def rows() -> list[Row]:
    """The first table of the section."""
    section = PAGE.read_text().split(SECTION)[1].split("\n\n")
    table = next(part for part in section if part.startswith("| text |"))
    found = []
    for row in table.splitlines()[2:]:
        kind, drafts, _, _, speed, cycle, accepted, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        middle, low, high = map(float, re.fullmatch(r"([\d.]+)x \(([\d.]+)-([\d.]+)\)", speed).groups())
        right, drafted = map(int, re.fullmatch(r"(\d+) of (\d+)", accepted).groups())
        found.append(Row(kind, drafts, middle, low, high, float(cycle), right / drafted))
    return found


def speedups() -> str:
    """Of the DFlash draft alone: speed against plain decoding, with its range, over the tokens that a cycle brings."""
    left, top, width, height = 60, 30, 520, 260
    few, many, slow, fast = 1.0, 3.0, 0.8, 1.6
    x = lambda cycle: left + width * (cycle - few) / (many - few)  # noqa: E731
    y = lambda speed: top + height * (fast - speed) / (fast - slow)  # noqa: E731
    parts = [text(left, 14, "speed against plain decoding, one CPU thread, measured")]
    for speed in (0.8, 1.0, 1.2, 1.4, 1.6):
        parts += [
            line(left, y(speed), left + width, y(speed)),
            text(left - 8, y(speed) + 4, f"{speed:.1f}", anchor="end"),
        ]
    parts += [text(x(n), top + height + 20, f"{n:g}", anchor="middle") for n in (1, 1.5, 2, 2.5, 3)]
    parts.append(text(left + width, top + height + 38, "tokens a cycle", anchor="end"))
    parts.append(line(left, y(1), left + width, y(1), INK))
    for number, row in enumerate(sorted((r for r in rows() if r.drafts == "dflash"), key=lambda r: -r.speedup)):
        color = SERIES[number % len(SERIES)]
        parts += [
            f'<line x1="{x(row.cycle):g}" y1="{y(row.low):g}" x2="{x(row.cycle):g}" y2="{y(row.high):g}" stroke="{color}" stroke-width="2"/>',
            f'<circle cx="{x(row.cycle):g}" cy="{y(row.speedup):g}" r="4" fill="{color}"/>',
            text(left + width + 14, top + 20 + 22 * number, f"{row.kind}: {row.accepted:.0%} accepted", color),
        ]
    return svg(860, 350, "What a DFlash draft brings, by kind of text", parts)

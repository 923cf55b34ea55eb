"""How a product with one row of inputs keeps memory busy: docs/learn/streaming.json, which scripts/record_streaming.py makes."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.pictures.drawing import INK, SERIES, curve, line, rect, svg, text

RECORD = Path(__file__).parents[2] / "docs/learn/streaming.json"
WAITS, WORKS = SERIES[0], SERIES[3]
LEFT, WIDTH, ROW, SECONDS = 150, 640, 5, 10


def timelines() -> str:
    """A row for each wave of one unit, in time: loads under way, and vector instructions. It plays."""
    record = json.loads(RECORD.read_text())
    window, parts, bars, top = record["window"], [], [], 56
    x = lambda cycle: LEFT + WIDTH * min(cycle, window) / window  # noqa: E731
    for run in (run for run in record["runs"] if "loads" in run):
        waves = run["resident"] * record["waves_of_a_block"]
        parts += [
            text(10, top + 14, f"{waves} waves"),
            text(10, top + 32, f"{run['dram']:.0%} of DRAM", INK),
            line(LEFT, top + waves * ROW + 4, LEFT + WIDTH, top + waves * ROW + 4),
        ]
        for color, inset, spans in ((WAITS, 1, run["loads"]), (WORKS, 0, run["math"])):
            for wave, start, end in spans:
                bars.append(
                    rect(x(start), top + wave * ROW + inset, max(x(end) - x(start), 0.6), ROW - 1 - 2 * inset, color)
                )
        top += waves * ROW + 22
    head = [
        text(LEFT, 16, f"One unit of the {record['card']}, the first {window:,} cycles of {record['kernel']}"),
        rect(LEFT, 28, 10, 10, WAITS), text(LEFT + 16, 38, "a load is under way", INK),
        rect(LEFT + 190, 28, 10, 10, WORKS), text(LEFT + 206, 38, "vector instructions", INK),
    ]  # fmt: skip
    grow = f'<animate attributeName="width" from="0" to="{WIDTH}" dur="{SECONDS}s" repeatCount="indefinite"/>'
    clip = f'<clipPath id="played"><rect x="{LEFT}" y="0" width="{WIDTH}" height="{top}">{grow}</rect></clipPath>'
    drawn = ['<defs><g id="bars">', *bars, f"</g>{clip}</defs>", '<use href="#bars" opacity="0.25"/>']
    return svg(
        LEFT + WIDTH + 20,
        top,
        "Waves that wait for memory, and more of them",
        [*head, *parts, *drawn, '<use href="#bars" clip-path="url(#played)"/>'],
    )


def bandwidth() -> str:
    """Share of its part of DRAM that a unit has in use, over the waves that it holds."""
    record = json.loads(RECORD.read_text())
    left, top, width, height = 60, 30, 480, 220
    most = max(run["resident"] for run in record["runs"]) * record["waves_of_a_block"]
    x = lambda waves: left + width * waves / most  # noqa: E731
    y = lambda share: top + height * (1 - share)  # noqa: E731
    points = [(x(run["resident"] * record["waves_of_a_block"]), y(run["dram"])) for run in record["runs"]]
    parts = [text(left, 14, "share of DRAM's speed that is in use, predicted")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts += [
            line(left, y(share), left + width, y(share)),
            text(left - 8, y(share) + 4, f"{share:.0%}", anchor="end"),
        ]
    parts += [text(x(n), top + height + 20, n, anchor="middle") for n in range(8, most + 1, 8)]
    parts += [text(left + width, top + height + 38, "waves that a unit holds", anchor="end"), curve(points, SERIES[0])]
    parts += [f'<circle cx="{px:g}" cy="{py:g}" r="3.5" fill="{SERIES[0]}"/>' for px, py in points]
    return svg(580, 300, "Memory's share in use against resident waves", parts)

"""Registers and waves, banks of LDS, quantization grids, sequences that decode together."""

from __future__ import annotations

import json
from pathlib import Path

from hfc.formats import weight_format
from hfc.formats.block import BlockFormat
from hfc.target.arch import ARCHS
from scripts.pictures.drawing import SERIES, line, svg, text

ROOT = Path(__file__).parents[2]
BANKS, BANK_BYTES, GROUP_BYTES = 32, 4, 128  # of LDS, as hfc/isa/memory.c counts its passes


def occupancy() -> str:
    """Waves that a SIMD holds against the vector registers of each, from ARCHS."""
    left, top, width, height, most_vgprs, most_waves = 50, 20, 560, 280, 256, 16
    x = lambda vgprs: left + width * vgprs / most_vgprs  # noqa: E731
    y = lambda waves: top + height * (1 - waves / most_waves)  # noqa: E731
    parts = [
        p
        for w in range(0, most_waves + 1, 4)
        for p in (line(left, y(w), x(most_vgprs), y(w)), text(left - 8, y(w) + 4, w, anchor="end"))
    ]
    parts += [text(x(v), top + height + 20, v, anchor="middle") for v in range(0, most_vgprs + 1, 32)]
    parts += [
        text(left, 12, "waves on a SIMD"),
        text(x(most_vgprs), top + height + 38, "vector registers of a wave's lane", anchor="end"),
    ]
    for i, name in enumerate(("gfx906", "gfx90a", "gfx1030", "gfx1100")):
        arch = ARCHS[name]
        points = " ".join(f"{x(v):g},{y(arch.occupancy(v)):g}" for v in range(1, most_vgprs + 1))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{SERIES[i]}" stroke-width="2"/>')
        parts.append(text(left + width + 12, top + 20 + 22 * i, f"{name}: {arch.vgprs} registers", SERIES[i]))
    return svg(800, 350, "Waves on a SIMD against vector registers", parts)


def grid_of(form: BlockFormat) -> list[float]:
    """The values that an element can take where the scale is 1, over the largest of them in size."""
    bits = sum(plane.bits for plane in form.codes["q"].planes)
    zero = form.codes["q"].zero
    values = [float(v) for v in form.table] or [float(q + zero) for q in range(1 << bits)]
    if form.min is not None:  # a minimum of its own: the grid may lie anywhere, drawn here from -1 to 1
        return [2 * q / (len(values) - 1) - 1 for q in range(len(values))]
    largest = max(map(abs, values))
    return [v / largest for v in values]


def grids() -> str:
    """What 16 or fewer codes can say, format by format."""
    rows, left, width = ("q2_k", "q3_k", "q4_0", "q4_1", "iq4_nl", "hfc4", "q5_0", "q6_k"), 90, 560
    parts = []
    for i, name in enumerate(rows):
        form, y = weight_format(name), 40 + 34 * i
        values = grid_of(form)
        parts += [text(10, y + 5, name), line(left, y, left + width, y)]
        parts += [
            f'<circle cx="{left + width * (v + 1) / 2:g}" cy="{y}" r="3.5" fill="{SERIES[i % len(SERIES)]}"/>'
            for v in values
        ]
        parts.append(
            text(
                left + width + 14,
                y + 5,
                f"{len(values)} values, a scale for {form.group}{' and a minimum' if form.min else ''}",
            )
        )
    parts += [text(left + width * (v + 1) / 2, 18, f"{v:+d}" if v else "0", anchor="middle") for v in (-1, 0, 1)]
    return svg(930, 40 + 34 * len(rows), "Quantization grids", parts)


def passes(stride: int, nbytes: int) -> int:
    """Times that LDS is asked for a group of lanes whose addresses lie `stride` bytes apart: the busiest bank's words."""
    lanes = GROUP_BYTES // nbytes
    words: dict[int, set[int]] = {}
    for lane in range(lanes):
        for word in range(nbytes // BANK_BYTES):
            address = lane * stride // BANK_BYTES + word
            words.setdefault(address % BANKS, set()).add(address)
    return max(map(len, words.values()))


def banks() -> str:
    """Passes of LDS for lanes that read one word each, by the distance of their addresses."""
    strides, left, top, width = (0, 1, 2, 3, 4, 8, 16, 17, 32, 33), 60, 30, 58
    parts = [text(left, 16, "passes for 32 lanes that read 4 bytes each, by the words between their addresses")]
    for i, stride in enumerate(strides):
        count, x = passes(stride * BANK_BYTES, BANK_BYTES), left + width * i
        height = 6 * count
        color = SERIES[2] if count == 1 else SERIES[1] if count > 4 else SERIES[3]
        parts.append(f'<rect x="{x}" y="{top + 200 - height}" width="40" height="{height}" fill="{color}"/>')
        parts += [
            text(x + 20, top + 194 - height, count, anchor="middle"),
            text(x + 20, top + 218, stride, anchor="middle"),
        ]
    return svg(left + width * len(strides) + 20, top + 230, "LDS passes by stride", parts)


def streams() -> str:
    """Measured tokens a second against sequences that decode together, from docs/bench/h200-streams.json."""
    found = json.loads((ROOT / "docs/bench/h200-streams.json").read_text())
    model = found["models"][0]
    left, top, width, height, most, most_batch = 60, 30, 520, 260, 3000, 16
    x = lambda batch: left + width * batch / most_batch  # noqa: E731
    y = lambda speed: top + height * (1 - speed / most)  # noqa: E731
    parts = [
        p
        for v in range(0, most + 1, 500)
        for p in (line(left, y(v), left + width, y(v)), text(left - 8, y(v) + 4, v, anchor="end"))
    ]
    parts += [text(x(b), top + height + 20, b, anchor="middle") for b in (1, 4, 8, 16)]
    parts += [text(left, 14, f"tokens a second, measured on {found['driver'].split(',')[0]}, {found['date'][:10]}")]
    parts += [text(left + width, top + height + 38, "sequences that decode together", anchor="end")]
    for i, (name, rows) in enumerate((("hfc", model["hfc"]), ("llama.cpp", model["llama_cpp"]))):
        speeds = {batch_of(row["test"]): row["tok_s"] for row in rows if row["test"].startswith("tg128")}
        points = " ".join(f"{x(b):g},{y(v):g}" for b, v in sorted(speeds.items()))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{SERIES[i]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(b):g}" cy="{y(v):g}" r="3.5" fill="{SERIES[i]}"/>' for b, v in speeds.items()]
        parts.append(text(left + width + 12, y(speeds[max(speeds)]) + 4, name, SERIES[i]))
    return svg(700, 340, "Tokens a second against sequences, measured", parts)


def batch_of(test: str) -> int:
    """ "tg128 b4" -> 4, "tg128" -> 1."""
    return next((int(word[1:]) for word in test.split() if word[0] == "b" and word[1:].isdigit()), 1)

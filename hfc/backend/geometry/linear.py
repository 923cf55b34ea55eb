"""Thread blocks of linear regions: in prefill by tiles of rows (prefill.py), in decode by lines of words, or by single elements."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.geometry.dot import dot
from hfc.backend.geometry.few import few
from hfc.backend.geometry.parts import groups, in_lines, part_blocks
from hfc.backend.geometry.prefill import prefill
from hfc.backend.geometry.shape import Geometry, make
from hfc.backend.spec import Bound
from hfc.formats.lanes import LINE, PLAIN, lane_loader
from hfc.target.arch import Arch


def linear(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    if rows_class == "prefill":
        return prefill(bound, arch)
    return (
        few(bound, arch)
        or dot(bound, arch)
        or (_linear_wide(bound, arch) if in_lines(bound) else _linear_single(bound, arch),)
    )


def _linear_single(bound: Bound, arch: Arch) -> Geometry:
    waves = 4
    outputs = max(1, 4 // max(map(len, groups(bound))))  # four sums a lane, shared by the zipped parts
    vector = 8 if all(part.format.block % 8 == 0 for part in bound.extra["parts"]) else 4
    starts, blocks = part_blocks(bound, waves * outputs)
    rows = bound.rows if not bound.extra["top"] else f"{bound.rows} * {bound.extra['top']}"
    numbers = {"waves": waves, "outputs": outputs, "vector": vector, "starts": starts, "groups": groups(bound)}
    return make(bound, "linear", (str(blocks), rows, "1"), waves * arch.wave, numbers)


def _linear_wide(bound: Bound, arch: Arch) -> Geometry:
    extra = bound.extra
    loaders = {p.format.name: lane_loader(p.format) if p.format.quantized else PLAIN for p in extra["parts"]}
    largest = max(extra["parts"], key=lambda p: p.n)
    count = max(map(len, groups(bound)))
    # Measured on an H200 (9B, one row): four streams of weights a lane 33 us, two 39, and two resident blocks suffice.
    waves, outputs = 256 // arch.wave, max(1, (4 if arch.kind == "nvidia" else 2) // count)
    if arch.vgprs == 256 and bound.extra["rotate"] and any(part.format.table for part in extra["parts"]):
        outputs = 1  # with two, rotation and look-up take 132 registers where inputs come in tiles: one wave a SIMD
    total = sum(p.n for p in extra["parts"])
    # few outputs: several waves share the K of each
    split = 1 if total > 8192 else 2 if total > 2048 or arch.vgprs == 256 else 4
    # With that many, or a tile of 4096, AMD's back end hoists whole lines: scratch on gfx1100, one wave a SIMD on gfx906.
    tile = max(4096 if arch.kind == "nvidia" else 2048, arch.wave * split * LINE.elements)
    # 4 rows of two parts take all registers of a lane on gfx1010, 2 half of them
    most_rows = 2 if arch.kind == "nvidia" else 4 // count
    together = 1 if extra["top"] or arch.vgprs == 256 else max(1, min(most_rows, 8192 // tile))
    starts, blocks = part_blocks(bound, waves // split * outputs)
    rows = f"({bound.rows} + {together - 1}) / {together}" if together > 1 else bound.rows
    numbers = {
        "waves": waves,
        "outputs": outputs,
        "split": split,
        "tile": tile,
        "together": together,
        "count": count,
        "resident": 2,
        "pad": loaders[largest.format.name].map.span,
        "lanes_of": loaders,
        "starts": starts,
        "groups": groups(bound),
    }
    rows = f"{bound.rows} * {extra['top']}" if extra["top"] else rows
    made = make(bound, "linear_wide", (str(blocks), rows, "1"), waves * arch.wave, numbers)
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()))

"""Thread blocks of linear regions: by lines of words (decode), by tiles of rows (prefill), by single elements (the rest)."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound, Part
from hfc.formats.lanes import LINE, PLAIN, half_loader, lane_loader
from hfc.target.arch import Arch

PLAIN_FORMATS = ("f32", "f16", "bf16")  # with a run loader in device/codes.h
EXACT_FORMATS = ("f16", "bf16")  # one f16 holds their values (of bf16 those in its range)
MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")


def linear(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    # Rows of one expert are not neighbours, so experts keep one row a block in either class.
    if rows_class == "prefill" and not bound.extra["top"]:
        if _has_stage(bound, arch):
            return _linear_stage(bound, arch), _linear_matrix(bound, arch)
        return (_linear_tiled(bound),)
    return (_linear_wide(bound, arch) if _wide(bound) else _linear_single(bound, arch),)


def _linear_single(bound: Bound, arch: Arch) -> Geometry:
    waves = 4
    outputs = max(1, 4 // max(map(len, _groups(bound))))  # four sums a lane, shared by the zipped parts
    vector = 8 if all(part.format.block % 8 == 0 for part in bound.extra["parts"]) else 4
    starts, blocks = _part_blocks(bound, waves * outputs)
    rows = bound.rows if not bound.extra["top"] else f"{bound.rows} * {bound.extra['top']}"
    numbers = {"waves": waves, "outputs": outputs, "vector": vector, "starts": starts, "groups": _groups(bound)}
    return make(bound, "linear", (str(blocks), rows, "1"), waves * arch.wave, numbers)


def _wide(bound: Bound) -> bool:
    """Whether lanes can take 32 elements of every weight at once, and inputs stand as `load` says."""
    formats = [part.format for part in bound.extra["parts"]]
    known = all(lane_loader(f) and half_loader(f) if f.quantized else f.name in PLAIN_FORMATS for f in formats)
    return bound.extra["k"] % LINE.elements == 0 and known and not bound.extra.get("rotate")


def _linear_wide(bound: Bound, arch: Arch) -> Geometry:
    extra = bound.extra
    loaders = {p.format.name: lane_loader(p.format) if p.format.quantized else PLAIN for p in extra["parts"]}
    most = max(extra["parts"], key=lambda p: p.n)
    count = max(map(len, _groups(bound)))
    # Measured on an H200 (9B, one row): four streams of weights a lane 33 us, two 39, and two resident blocks suffice.
    waves, outputs = 256 // arch.wave, max(1, (4 if arch.kind == "nvidia" else 2) // count)
    total = sum(p.n for p in extra["parts"])
    split = 1 if total > 8192 else 2 if total > 2048 else 4  # few outputs: several waves share the K of each
    # With that many, or a tile of 4096, AMD's back end hoists whole lines: scratch on gfx1100, one wave a SIMD on gfx906.
    tile = max(4096 if arch.kind == "nvidia" else 2048, arch.wave * split * LINE.elements)
    together = 1 if extra["top"] or arch.vgprs == 256 else max(1, min(2, 8192 // tile))
    starts, blocks = _part_blocks(bound, waves // split * outputs)
    rows = f"({bound.rows} + {together - 1}) / {together}" if together > 1 else bound.rows
    numbers = {
        "waves": waves,
        "outputs": outputs,
        "split": split,
        "tile": tile,
        "together": together,
        "count": count,
        "resident": 2,
        "pad": loaders[most.format.name].map.span,
        "lanes_of": loaders,
        "starts": starts,
        "groups": _groups(bound),
    }
    rows = f"{bound.rows} * {extra['top']}" if extra["top"] else rows
    made = make(bound, "linear_wide", (str(blocks), rows, "1"), waves * arch.wave, numbers)
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()))


def _has_stage(bound: Bound, arch: Arch) -> bool:
    """Whether prefill stages the inputs of `bound` for matrix units."""
    together = max(map(len, _groups(bound))) if bound.stem == "linear" else 0
    return together in (1, 2) and not bound.extra["top"] and _wide(bound) and any(map(arch.has, MATRIX_FEATURES))


def _linear_stage(bound: Bound, arch: Arch) -> Geometry:
    numbers = {"waves": 256 // arch.wave}
    made = make(bound, "linear_stage", (bound.rows, "1", "1"), 256, numbers, suffix="_stage")
    return replace(made, scratch=(_staged(bound, written=True),), task="stage the inputs of")


def _staged(bound: Bound, written: bool) -> Scratch:
    """The region's inputs as pairs of f16: high parts of a row, then low parts."""
    return Scratch("staged", "_Float16", "f16", 4 * bound.extra["k"], written=written)


def _linear_matrix(bound: Bound, arch: Arch) -> Geometry:
    """Eight waves of 32 lanes or four of 64 make 4 x 2 or 4 x 4 products of 16 x 16 each."""
    groups = _groups(bound)
    # A smaller tile where registers are few, and where a usual step would give each compute unit one block only.
    small = arch.vgprs == 256 or sum(p.n for p in bound.extra["parts"]) <= 8192
    tile_rows, tile_outputs, depth, threads = 64 if small else 128, 128, 32, 256
    loaders = {p.format.name: half_loader(p.format) if p.format.quantized else PLAIN for p in bound.extra["parts"]}
    together = max(map(len, groups))
    starts, blocks = _part_blocks(bound, tile_outputs // together)
    numbers = {
        "uses": [feature for feature in MATRIX_FEATURES if arch.has(feature)],
        "tile_rows": tile_rows,
        "tile_outputs": tile_outputs,
        "depth": depth,
        "down": 2,
        "across": threads // arch.wave // 2,
        "distinct": _distinct,
        "exact": EXACT_FORMATS,
        "exact_groups": [all(part.format.name in EXACT_FORMATS for part in group) for group in groups],
        "parts_together": together,
        "resident": 2,
        "lanes_of": loaders,
        "starts": starts,
        "groups": groups,
    }
    grid = (f"({bound.rows} + {tile_rows - 1}) / {tile_rows}", str(blocks), "1")
    made = make(bound, "linear_matrix", grid, threads, numbers, suffix="_matrix")
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()), scratch=(_staged(bound, written=False),))


def _distinct(group: list[Part]) -> list[Part]:
    """The first part of each format, if that is one for all; else all parts."""
    return group[:1] if len({part.format.name for part in group}) == 1 else group


def _linear_tiled(bound: Bound) -> Geometry:
    # Every thread makes 4 x 4 outputs: 8 LDS reads for 16 products. More parts at once would need more registers.
    tile_rows, tile_outputs, depth, threads = 64, 64, 32, 256
    if bound.extra["zipped"] and len(bound.extra["parts"]) > 2:
        tile_outputs = 32
    starts, blocks = _part_blocks(bound, tile_outputs)
    numbers = {
        "tile_rows": tile_rows,
        "tile_outputs": tile_outputs,
        "depth": depth,
        "starts": starts,
        "groups": _groups(bound),
    }
    grid = (str(blocks), f"({bound.rows} + {tile_rows - 1}) / {tile_rows}", "1")
    return make(bound, "linear_tiled", grid, threads, numbers, suffix="_tiled")


def _groups(bound: Bound) -> list[list[Part]]:
    """Parts that one thread block works on together: all when zipped, else each alone."""
    parts = bound.extra["parts"]
    return [parts] if bound.extra["zipped"] else [[part] for part in parts]


def _part_blocks(bound: Bound, outputs: int) -> tuple[list[int], int]:
    """First block of each group, and the number of blocks; a block makes `outputs` of every part of its group."""
    counts = [-(-group[0].n // outputs) for group in _groups(bound)]
    return [sum(counts[:i]) for i in range(len(counts))], sum(counts)

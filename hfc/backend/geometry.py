"""How a bound region is cut into thread blocks: grid, block and the numbers that its template unrolls by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hfc.backend.spec import Bound, Part, Task
from hfc.base.diagnostics import HfcError
from hfc.formats.lanes import LINE, PLAIN, half_loader, lane_loader
from hfc.target.arch import Arch

PLAIN_FORMATS = ("f32", "f16", "bf16")  # with a run loader in device/codes.h
EXACT_FORMATS = ("f16", "bf16")  # one f16 holds their values (of bf16 those in its range)
STAGE = "stage"  # the launch that prepares a linear region's inputs for the matrix units
MATRIX_FEATURES = ("mma_f16", "wmma_f16", "mfma_f16")
ROWS_CLASSES = ("decode", "prefill")  # few rows: weights are read once a row; many: once a tile of rows


@dataclass(frozen=True)
class Geometry:
    """template: file that serves the region.  symbol: device function.  grid: C integer expressions in T, R, G.

    block: threads.  lds_bytes: dynamic LDS to ask for (0: all of it is declared in the kernel).
    numbers: template variables, a pure function of the bound region, the arch and the class.
    loaders: device functions that the template calls, beside those of the formats.
    staged: the kernel takes one more pointer, `staged`: inputs as f16 [rows, k].
    """

    template: str
    symbol: str
    grid: tuple[str, str, str]
    block: int
    lds_bytes: int
    numbers: dict[str, Any]
    loaders: str = ""
    staged: bool = False


def geometry(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    """The geometry of `bound` on `arch`. rows_class: "decode" or "prefill"; only linear regions differ by it."""
    assert rows_class in (*ROWS_CLASSES, STAGE), rows_class
    return _STEMS[bound.stem](bound, arch, rows_class)


def _linear(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    # Rows of one expert are not neighbours, so experts keep one row a block in either class.
    if rows_class == "stage":
        return _linear_stage(bound, arch)
    if rows_class == "prefill" and not bound.extra["top"]:
        return _linear_matrix(bound, arch) if has_stage(bound, arch) else _linear_tiled(bound)
    if _wide(bound):
        return _linear_wide(bound, arch)
    waves = 4
    outputs = max(1, 4 // max(map(len, _groups(bound))))  # four sums a lane, shared by the zipped parts
    vector = 8 if all(part.format.block % 8 == 0 for part in bound.extra["parts"]) else 4
    starts, blocks = _part_blocks(bound, waves * outputs)
    rows = bound.rows if not bound.extra["top"] else f"{bound.rows} * {bound.extra['top']}"
    numbers = {"waves": waves, "outputs": outputs, "vector": vector, "starts": starts, "groups": _groups(bound)}
    return _make(bound, "linear", (str(blocks), rows, "1"), waves * arch.wave, numbers)


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
    made = _make(bound, "linear_wide", (str(blocks), rows, "1"), waves * arch.wave, numbers)
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()))


def has_stage(bound: Bound, arch: Arch) -> bool:
    """Whether prefill stages the inputs of `bound` for matrix units."""
    together = max(map(len, _groups(bound))) if bound.stem == "linear" else 0
    return together in (1, 2) and not bound.extra["top"] and _wide(bound) and any(map(arch.has, MATRIX_FEATURES))


def _linear_stage(bound: Bound, arch: Arch) -> Geometry:
    numbers = {"waves": 256 // arch.wave}
    made = _make(bound, "linear_stage", (bound.rows, "1", "1"), 256, numbers, suffix="_stage")
    return replace(made, staged=True)


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
    made = _make(bound, "linear_matrix", grid, threads, numbers, suffix="_matrix")
    return replace(made, loaders="\n".join(loader.source for loader in loaders.values()), staged=True)


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
    return _make(bound, "linear_tiled", grid, threads, numbers, suffix="_tiled")


def _groups(bound: Bound) -> list[list[Part]]:
    """Parts that one thread block works on together: all when zipped, else each alone."""
    parts = bound.extra["parts"]
    return [parts] if bound.extra["zipped"] else [[part] for part in parts]


def _part_blocks(bound: Bound, outputs: int) -> tuple[list[int], int]:
    """First block of each group, and the number of blocks; a block makes `outputs` of every part of its group."""
    counts = [-(-group[0].n // outputs) for group in _groups(bound)]
    return [sum(counts[:i]) for i in range(len(counts))], sum(counts)


def _map(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    tasks = bound.extra["tasks"]
    waves = 4
    wide = any(task.stats and task.size > 1024 for task in tasks)  # then a wave would take too long for one group
    threads = waves * arch.wave if wide else arch.wave
    spans = [_span(task, threads) for task in tasks]
    units = [task.groups * -(-task.size // span) for task, span in zip(tasks, spans)]
    blocks = sum(units) if wide else -(-sum(units) // waves)
    numbers = {
        "waves": waves,
        "wide": wide,
        "spans": spans,
        "starts": [sum(units[:i]) for i in range(len(units))],
        "units": units,
    }
    return _make(bound, "map", (str(blocks), bound.rows, "1"), waves * arch.wave, numbers)


def _span(task: Task, threads: int) -> int:
    """Elements of a group that one unit of threads makes: all when they share a reduction."""
    return task.size if task.stats else min(task.size, 8 * threads)


def _attend(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    extra = bound.extra
    vector = -(-extra["size"] // arch.wave)
    group = extra["heads"] // extra["kv_heads"]
    if rows_class == "decode":  # few rows: many waves share a context; the heads of a group meet in the L2 cache
        waves, together, ahead = 512 // arch.wave, 1, 4
    else:
        # Each head keeps query and sum in registers: 2 * vector a lane. 96 registers leave room for the loop.
        most = 64 if arch.kind == "nvidia" else 48 if arch.vgprs == 256 else 96  # of 256, so that two waves fit a SIMD
        waves, ahead = 256 // arch.wave, 2
        together = max(h for h in range(1, group + 1) if group % h == 0 and (h == 1 or 2 * vector * h <= most))
    numbers = {"waves": waves, "vector": vector, "together": together, "group": group, "ahead": ahead}
    suffix = "" if rows_class == "decode" else "_rows"
    return _make(bound, "attend", (str(extra["heads"] // together), bound.rows, "1"), waves * arch.wave, numbers, suffix)


def _delta(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    extra = bound.extra
    # A column of the state is cut over neighbouring lanes so that each holds at most 32 of its elements.
    split = 1
    while -(-extra["dk"] // (4 * split)) * 4 > 32:
        split *= 2
    block = -(-extra["dv"] * split // arch.wave) * arch.wave
    if block > 1024 or split > arch.wave:
        raise HfcError(
            f"gated_delta: head sizes {extra['dk']} x {extra['dv']} do not fit one thread block of 1024 threads"
        )
    depth = -(-extra["dk"] // (4 * split)) * 4
    # Tokens whose q, k, v and y lie in LDS together: between barriers.
    tokens = max(1, min(16, 32768 // (8 * (split * depth + extra["dv"]))))
    numbers = {
        "split": split,
        "depth": depth,
        "block": block,
        "tokens": tokens,
        # Inputs loaded together: each costs scalar registers for its predicate on AMD, which has about 100.
        "batch": min(tokens, 16 if arch.kind == "nvidia" else 4),
        "turns": -(-(2 * extra["dk"] + extra["dv"]) // block),
    }
    return _make(bound, "delta", (str(extra["k_heads"]), "G", "1"), block, numbers)


def _route(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    if bound.extra["top"] > arch.wave:
        raise HfcError(
            f"route: the {bound.extra['top']} best of {bound.extra['experts']} do not fit a wave of {arch.wave} lanes"
        )
    return _make(bound, "route", (bound.rows, "1", "1"), arch.wave, {"held": -(-bound.extra["experts"] // arch.wave)})


def _conv(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    return _make(bound, "conv", (str(-(-bound.extra["channels"] // 128)), "G", "1"), 128, {})


def _make(
    bound: Bound, template: str, grid: tuple[str, str, str], block: int, numbers: dict[str, Any], suffix: str = ""
) -> Geometry:
    assert block <= 1024, f"{bound.name}: {block} threads"
    return Geometry(f"kernels/{template}.hip.j2", bound.name + suffix, grid, block, 0, {**numbers, "block": block})


def _sample(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    return _make(bound, "sample", (bound.rows, "1", "1"), 512, {})


_STEMS: dict[str, Callable[[Bound, Arch, str], Geometry]] = {
    "linear": _linear,
    "map": _map,
    "attend": _attend,
    "delta": _delta,
    "route": _route,
    "conv": _conv,
    "sample": _sample,
}

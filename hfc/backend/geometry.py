"""How a bound region is cut into thread blocks: grid, block and the numbers that its template unrolls by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hfc.backend.spec import Bound, Part, Task
from hfc.base.diagnostics import HfcError
from hfc.target.arch import Arch

ROWS_CLASSES = ("decode", "prefill")  # few rows: weights are read once a row; many: once a tile of rows


@dataclass(frozen=True)
class Geometry:
    """template: file that serves the region.  symbol: device function.  grid: C integer expressions in T, R, G.

    block: threads.  lds_bytes: dynamic LDS to ask for (0: all of it is declared in the kernel).
    numbers: template variables, a pure function of the bound region, the arch and the class.
    """

    template: str
    symbol: str
    grid: tuple[str, str, str]
    block: int
    lds_bytes: int
    numbers: dict[str, Any]


def geometry(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    """The geometry of `bound` on `arch`. rows_class: "decode" or "prefill"; only linear regions differ by it."""
    assert rows_class in ROWS_CLASSES, rows_class
    return _STEMS[bound.stem](bound, arch, rows_class)


def _linear(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    # Rows of one expert are not neighbours, so experts keep one row a block in either class.
    if rows_class == "prefill" and not bound.extra["top"]:
        return _linear_tiled(bound)
    waves = 4
    outputs = max(1, 4 // max(map(len, _groups(bound))))  # four sums a lane, shared by the zipped parts
    vector = 8 if all(part.format.block % 8 == 0 for part in bound.extra["parts"]) else 4
    starts, blocks = _part_blocks(bound, waves * outputs)
    rows = bound.rows if not bound.extra["top"] else f"{bound.rows} * {bound.extra['top']}"
    numbers = {"waves": waves, "outputs": outputs, "vector": vector, "starts": starts, "groups": _groups(bound)}
    return _make(bound, "linear", (str(blocks), rows, "1"), waves * arch.wave, numbers)


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
    # Each head keeps query and sum in registers: 2 * vector a lane. 96 registers leave room for the loop.
    together = max(h for h in range(1, group + 1) if group % h == 0 and (h == 1 or 2 * vector * h <= 96))
    waves = 256 // arch.wave
    numbers = {"waves": waves, "vector": vector, "together": together, "group": group}
    return _make(bound, "attend", (str(extra["heads"] // together), bound.rows, "1"), waves * arch.wave, numbers)


def _delta(bound: Bound, arch: Arch, rows_class: str) -> Geometry:
    extra = bound.extra
    # A column of the state is cut over neighbouring lanes so that each holds at most 32 of its elements.
    split = 1
    while -(-extra["dk"] // split) > 32:
        split *= 2
    block = -(-extra["dv"] * split // arch.wave) * arch.wave
    if block > 1024 or split > arch.wave:
        raise HfcError(
            f"gated_delta: head sizes {extra['dk']} x {extra['dv']} do not fit one thread block of 1024 threads"
        )
    depth = -(-extra["dk"] // split)
    numbers = {"split": split, "depth": depth, "block": block, "turns": -(-(2 * extra["dk"] + extra["dv"]) // block)}
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

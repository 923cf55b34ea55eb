"""Thread blocks of regions that work row by row: maps, routing, sampling."""

from __future__ import annotations

from hfc.backend.geometry.shape import Geometry, make
from hfc.backend.spec import Bound, Task
from hfc.base.diagnostics import HfcError
from hfc.target.arch import Arch


def map_(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    tasks = bound.extra["tasks"]
    waves = 4
    # Then a wave would take too long for one group, or the group is rotated in LDS, where a block's waves meet.
    wide = any((task.stats and task.size > 1024) or task.mixed for task in tasks)
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
    return (make(bound, "map", (str(blocks), bound.rows, "1"), waves * arch.wave, numbers),)


def _span(task: Task, threads: int) -> int:
    """Elements of a group that one unit of threads makes: all when they share a reduction."""
    return task.size if task.stats or task.mixed else min(task.size, 8 * threads)


def route(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    if bound.extra["top"] > arch.wave:
        raise HfcError(
            f"route: the {bound.extra['top']} best of {bound.extra['experts']} do not fit a wave of {arch.wave} lanes"
        )
    return (make(bound, "route", (bound.rows, "1", "1"), arch.wave, {"held": -(-bound.extra["experts"] // arch.wave)}),)


def sample(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    return (make(bound, "sample", (bound.rows, "1", "1"), 512, {}),)


def adopt(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    return (make(bound, "adopt", (f"({bound.rows} + 255) / 256", "1", "1"), 256, {}),)


def top(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    return (make(bound, "top", (bound.rows, "1", "1"), 512, {}),)


def select(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    return (make(bound, "select", ("G", "1", "1"), arch.wave, {"held": -(-bound.extra["rank"] // arch.wave)}),)

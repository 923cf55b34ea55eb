"""What a step really launches: a program's launches by its number of rows, and where they repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hfc.base.dataclass import dataclass
from hfc.plan import Launch, Plan
from hfc.runtime.launcher import grid_size
from hfc.step import DECODE_ROWS, Step


@dataclass(frozen=True)
class Launched:
    """The launches of steps of `first` to `last` rows. label: "decode of 2-16"."""

    label: str
    first: int
    last: int
    launches: tuple[Launch, ...]


def launched(plan: Plan, program: str, depth: int = 0, sizes: Sequence[int] = ()) -> list[Launched]:
    """Where it depends on the rows which launches have work, an entry for each range of them. depth: tokens of the context before the step.

    sizes: rows of prompts to look at, an entry for each; by default one with whatever a prompt may launch."""
    if not program.endswith("decode"):
        return _prompts(plan, program, depth, sizes)
    ranges: list[tuple[int, int, tuple[Launch, ...]]] = []
    for rows in range(1, min(DECODE_ROWS, plan.max_rows) + 1):
        found = with_work(plan, program, rows, depth)
        if ranges and ranges[-1][2] == found:
            ranges[-1] = (ranges[-1][0], rows, found)
        else:
            ranges.append((rows, rows, found))
    if len(ranges) == 1:
        first, last, found = ranges[0]
        return [Launched(program, first, last, found)]
    return [
        Launched(f"{program} of {first}" + f"-{last}" * (last > first), first, last, x) for first, last, x in ranges
    ]


def _prompts(plan: Plan, program: str, depth: int, sizes: Sequence[int]) -> list[Launched]:
    if not sizes or not with_work(plan, program, plan.max_rows, depth) or "prefill" not in program:
        return [Launched(program, plan.max_rows, plan.max_rows, plan.programs[program])]
    found = {rows: with_work(plan, program, rows, depth) for rows in sizes if rows <= plan.max_rows}
    return [Launched(f"{program} of {rows}", rows, rows, launches) for rows, launches in found.items()]


def with_work(plan: Plan, program: str, rows: int, depth: int) -> tuple[Launch, ...]:
    """The launches of a step of `rows` rows without those whose grid is empty."""
    step = step_of(plan, rows, depth)
    return tuple(x for x in plan.programs[program] if all(grid_size(size, step) for size in x.grid))


def step_of(plan: Plan, rows: int, depth: int = 0) -> Step:
    """A step of one sequence at position `depth`, or as near to it as the context leaves room for its rows."""
    return Step.single(range(rows), max(0, min(depth, plan.context - rows)))


@dataclass(frozen=True)
class Repeat:
    """`items` of a sequence, `times` times in a row, from place `first` on."""

    first: int
    items: tuple[str, ...]
    times: int


def folded(sequence: Sequence[str], longest: int = 64) -> Iterator[Repeat]:
    """A sequence with its repeats folded: at each place the period that covers most of what follows, the shortest of equals."""
    at = 0
    while at < len(sequence):
        best = (1, 1)  # period, times
        for period in range(1, min(longest, (len(sequence) - at) // 2) + 1):
            unit, times = sequence[at : at + period], 1
            while sequence[at + times * period : at + (times + 1) * period] == unit:
                times += 1
            if times > 1 and period * times > best[0] * best[1]:
                best = (period, times)
        yield Repeat(at, tuple(sequence[at : at + best[0]]), best[1])
        at += best[0] * best[1]

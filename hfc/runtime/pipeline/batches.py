"""A step of several sequences -> micro-batches, which are on their way through the stages at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from hfc.step import Segment, Step


def micro_batches(step: Step, count: int) -> list[Step]:
    """The segments of a step in at most `count` steps of about as many rows each. A row's result does not depend on its neighbours."""
    most = -(-len(step.segments) // count)
    return [_part(step, step.segments[at : at + most]) for at in range(0, len(step.segments), most)]


def _part(step: Step, segments: tuple[Segment, ...]) -> Step:
    first, end = segments[0].row, segments[-1].row + segments[-1].rows
    wanted = step.output_rows[(step.output_rows >= first) & (step.output_rows < end)] - first
    moved = tuple(Segment(s.slot, s.row - first, s.rows, s.position, s.replay, s.commit) for s in segments)
    return Step(step.tokens[first:end], moved, np.asarray(wanted, np.int32), 0, step.observed, step.prompts)


def rolling(steps: Iterable[Step], depth: int, start: Callable[[Step], Callable[[], Any]]) -> Iterator[Any]:
    """Run steps that follow each other in the same slots: no micro-batch begins before the one of the step before it has ended.

    start: begins a step, and gives what waits for it."""
    flying: deque[Callable[[], Any]] = deque()
    for step in steps:
        is_shared = depth > 1 and len(step.segments) > 1 and not step.guessed
        parts = micro_batches(step, depth) if is_shared else [step]
        for part in parts:
            while len(flying) >= len(parts):
                yield flying.popleft()()
            flying.append(start(part))
    while flying:
        yield flying.popleft()()

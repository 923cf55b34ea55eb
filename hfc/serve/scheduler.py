"""Who runs in the next step: slots for waiting sequences, one row for each that decodes, the rest for prompts.

Pure bookkeeping, no model and no thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hfc.runtime.decoding.state import Phase, Work
from hfc.serve.sequence import Sequence


@dataclass(frozen=True)
class Limits:
    """The plan's sizes, and two choices: prefill_rows, prompt rows of a step in which others decode; queue, how many may wait."""

    slots: int
    max_rows: int
    max_outputs: int
    context: int
    prefill_rows: int = 128
    queue: int = 64


class Scheduler:
    """waiting: in order of arrival.  running: those with a slot, in order of admission."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._turn = 0

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def admissible(self, is_held: Callable[[Sequence, list[Sequence]], bool]) -> Sequence | None:
        """The first waiting sequence that is not held for what a running one computes; None when the slots are full."""
        if len(self.running) >= self.limits.slots:
            return None
        return next((s for s in self.waiting if not is_held(s, self.running)), None)

    def admit(self, sequence: Sequence, slot: int, position: int) -> None:
        """Give a slot that holds the sequence's first `position` tokens."""
        assert slot not in {s.slot for s in self.running}, f"slot {slot} is taken"
        self.waiting.remove(sequence)
        sequence.slot, sequence.position = slot, position
        sequence.phase = Phase.PREFILL
        self.running.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def plan(self) -> list[Work]:
        """The next step: every sequence that decodes, then prompts with what rows are left, in equal shares."""
        limits = self.limits
        prompts = [s for s in self.running if s.phase is Phase.PREFILL]
        ready = [s for s in self.running if s.phase is Phase.DECODE and not s.stream.is_full]
        most = limits.max_outputs - (1 if prompts else 0)  # one for a prompt that ends, so that it is not starved
        most = max(1, min(most, limits.max_rows - (1 if prompts else 0)))
        if len(ready) > most:  # more slots than logits rows: take turns
            self._turn = (self._turn + most) % len(ready)
            ready = (ready[self._turn :] + ready[: self._turn])[:most]
        work = [Work(s, 1, 1) for s in ready]
        rows = limits.max_rows - len(work)
        return work + self._prompts(
            prompts, min(rows, limits.prefill_rows) if work else rows, limits.max_outputs - len(work)
        )

    def _prompts(self, prompts: list[Sequence], rows: int, outputs: int) -> list[Work]:
        work = []
        # Smallest need first: what it leaves of its share goes to the others, and a short prompt never waits for a long one.
        for left, sequence in zip(range(len(prompts), 0, -1), sorted(prompts, key=_remaining)):
            part = self._prompt(sequence, max(1, rows // left) if rows else 0, outputs)
            if part is not None:
                work.append(part)
                rows -= part.rows
                outputs -= part.outputs
        return work

    def _prompt(self, sequence: Sequence, share: int, outputs: int) -> Work | None:
        """At most `share` rows, up to the next mark; the last row of a prompt wants logits."""
        mark = sequence.next_mark()
        end = mark if mark is not None else len(sequence.prompt)
        count = min(share, end - sequence.position)
        is_last = sequence.position + count == len(sequence.prompt)
        if sequence.job.prompt_logprobs:
            count = min(count, outputs)
            return Work(sequence, count, count) if count > 0 else None
        if sequence.job.pool:
            return Work(sequence, count, 0) if count > 0 else None
        if is_last and not outputs:
            count, is_last = count - 1, False
        return Work(sequence, count, int(is_last)) if count > 0 else None


def _remaining(sequence: Sequence) -> tuple[int, int]:
    return len(sequence.prompt) - sequence.position, sequence.number

"""Who runs in the next step: slots for waiting sequences, one row for each that decodes, the rest for prompts.

Pure bookkeeping, no model and no thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection

from hfc.base.dataclass import dataclass
from hfc.runtime.decoding.state import Phase, Work
from hfc.serve.pace import Pace
from hfc.serve.sequence import Sequence

AGE_S = 10.0  # of waiting, which count as much as one class of priority: nobody waits for ever


@dataclass(frozen=True)
class Limits:
    """The plan's sizes, and choices: prefill_rows, most prompt rows of a step in which others decode, None for as many as their rhythm
    allows; queue, how many may wait; max_wait_s, how long for a slot, None for as long as the request may take;
    least_prefill_rows, of which fewer cost as much."""

    slots: int
    max_rows: int
    max_outputs: int
    context: int
    prefill_rows: int | None = None
    queue: int = 256
    max_wait_s: float | None = None
    least_prefill_rows: int = 1


class Scheduler:
    """waiting: in order of arrival.  running: those with a slot, in order of admission."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.pace = Pace(limits.max_rows, limits.least_prefill_rows)
        self._turn = 0

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def admissible(self, is_held: Callable[[Sequence, list[Sequence]], bool]) -> Sequence | None:
        """The first waiting sequence that is not held for what a running one computes; None when the slots are full."""
        if len(self.running) >= self.limits.slots:
            return None
        return next((s for s in in_order(self.waiting) if not is_held(s, self.running)), None)

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

    def plan(self, busy: Collection[Sequence] = ()) -> list[Work]:
        """The next step: every sequence that decodes, then prompts with as many rows as those allow. busy: those whose step is on its way."""
        limits = self.limits
        free = [s for s in self.running if s not in busy]
        prompts = [s for s in free if s.phase is Phase.PREFILL]
        ready = [s for s in free if s.phase is Phase.DECODE and not s.stream.is_full]
        most = limits.max_outputs - (1 if prompts else 0)  # one for a prompt that ends, so that it is not starved
        most = max(1, min(most, limits.max_rows - (1 if prompts else 0)))
        if len(ready) > most:  # more slots than logits rows: take turns
            self._turn = (self._turn + most) % len(ready)
            ready = (ready[self._turn :] + ready[: self._turn])[:most]
        work = [Work(s, 1, 1) for s in ready]
        if not prompts:
            return work
        rows = min(limits.max_rows - len(work), self.pace.rows(len(work), len(prompts)))
        if work and limits.prefill_rows is not None:
            rows = min(rows, limits.prefill_rows)
        return work + self._prompts(prompts, rows, limits.max_outputs - len(work))

    def _prompts(self, prompts: list[Sequence], rows: int, outputs: int) -> list[Work]:
        """Half of the rows for whoever came first, so that it ends, half for whoever needs least, which then need not wait for it; what
        they leave for the others in order of arrival. Of equal prompts the first is both: they end one after the other."""
        if not prompts or not rows:
            return []
        first, *others = in_order(prompts)
        # by arrival among its own class, as `first` is: who may go first may also go between
        shortest = min((s for s in prompts if s.job.priority >= first.job.priority), key=_remaining)
        work: dict[Sequence, Work] = {}
        half = rows if shortest is first else -(-rows // 2)
        for sequence, most in ((first, half), *((s, rows) for s in (shortest, *others, first))):
            work.pop(sequence, None)
            left = rows - sum(w.rows for w in work.values())
            part = self._prompt(sequence, min(left, most), outputs - sum(w.outputs for w in work.values()))
            if part is not None:
                work[sequence] = part
        return list(work.values())

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


def in_order(sequences: list[Sequence] | deque[Sequence]) -> list[Sequence]:
    """By priority, in which who waits long rises, and then by arrival."""
    now = time.monotonic()
    return sorted(sequences, key=lambda s: (-s.job.priority - int((now - s.submitted_s) / AGE_S), s.number))


def _remaining(sequence: Sequence) -> tuple[int, int]:
    return len(sequence.prompt) - sequence.position, sequence.number

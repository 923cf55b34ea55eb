"""Several equal devices that compute every layer of one model together: tensor parallelism, a thread for each rank."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np

from hfc.bundles.ranks import check_ranks
from hfc.plan import Plan
from hfc.runtime.limits import check_step, tap_buffer
from hfc.runtime.pipeline.plan import joined_plan
from hfc.runtime.ranks.meeting import Meeting
from hfc.runtime.sampler import Sampler
from hfc.step import Step


class RankModel(Protocol):
    """A loaded plan of one rank."""

    plan: Plan

    def connect(self, meeting: Meeting, ranks: Sequence[Any]) -> None:
        """Before the first step: where it meets the others, and what is read of them."""
        ...

    def forward(self, step: Step) -> np.ndarray: ...

    def advance(self, step: Step) -> None:
        """Run a step whose logits another rank gives out."""
        ...

    def tap(self, name: str, first: int, count: int) -> np.ndarray: ...

    def close(self) -> None: ...


class _Worker:
    """The thread of a rank that is not the first."""

    def __init__(self, number: int):
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"hfc-rank-{number}", daemon=True)
        self._thread.start()

    def begin(self, work: Callable[[], None]) -> Future:
        found: Future = Future()
        self._jobs.put((work, found))
        return found

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, found = job
            try:
                found.set_result(work())
            except BaseException as error:  # of any type: whoever waits for the step must hear of it
                found.set_exception(error)


class RankedModel:
    """A runtime.decoding.Model. The first rank runs in the thread that calls, and gives out logits and taps: all ranks have the same.

    A step has ended on all ranks before the next begins, so that what they exchange may lie in the same places."""

    def __init__(self, ranks: Sequence[RankModel]):
        plans = [rank.plan for rank in ranks]
        check_ranks(plans, "ranks")
        self.ranks, self.plan = tuple(ranks), joined_plan(plans)
        self.vocab, self.context, self.slots = self.plan.vocab, self.plan.context, self.plan.slots
        self.max_rows, self.max_outputs = self.plan.max_rows, self.plan.max_outputs
        self._meeting = Meeting(len(ranks))
        self._failed: BaseException | None = None
        for rank in ranks:
            rank.connect(self._meeting, ranks)
        cards = [getattr(rank, "on_card", None) for rank in ranks]
        self._following = cards[1:] if cards[0] and cards[0].leads else []
        self._workers = [_Worker(number) for number in range(1, len(ranks))]
        for worker, card in zip(self._workers, self._following):
            worker.begin(card.follow)

    def forward(self, step: Step) -> np.ndarray:
        """Run one step; the logits, f32 [R, vocab]."""
        return self._together(step, lambda rank: rank.forward(step))

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        """Rows [first, first + count) of a tap of the last step, f32 [count, width]."""
        tap_buffer(self.plan, name)
        return self.ranks[0].tap(name, first, count)

    def close(self) -> None:
        """End the ranks. The model cannot run afterwards."""
        workers, self._workers = self._workers, []
        for card in self._following if workers else ():
            card.end()
        for worker in workers:
            worker.close()
        for rank in self.ranks:
            rank.close()

    def _together(self, step: Step, first: Callable[[Any], Any]) -> Any:
        """A step on all ranks. What goes wrong on one ends it on all."""
        check_step(step, self.ranks[0].plan)
        if self._following:
            try:
                return first(self.ranks[0])
            except BaseException:  # of any type: all ranks have ended, and none knows how far the others came
                self._meeting.begin_again()
                raise
        begun = [
            worker.begin(lambda rank=rank: self._guarded(lambda: rank.advance(step)))
            for worker, rank in zip(self._workers, self.ranks[1:], strict=True)
        ]
        found = self._guarded(lambda: first(self.ranks[0]))
        for one in begun:
            one.result()
        failed, self._failed = self._failed, None
        if failed is not None:
            self._meeting.begin_again()
            raise failed
        return found

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """What work gives. The first error of a step is kept until all ranks have ended; those who waited for that rank fail too."""
        try:
            return work()
        except BaseException as error:  # of any type: the others must have ended before it is told
            self._failed = self._failed or error
            self._meeting.leave()
            return None


class SamplingRankedModel(RankedModel):
    """Ranks whose devices choose tokens themselves (runtime.decoding.SamplesItself)."""

    def next_tokens(self, step: Step, samplers: Sequence[Sampler]) -> list[int]:
        return self._together(step, lambda rank: rank.next_tokens(step, samplers))


def ranked(ranks: Sequence[RankModel]) -> RankedModel:
    """The model that these ranks are."""
    return (SamplingRankedModel if hasattr(ranks[0], "next_tokens") else RankedModel)(ranks)

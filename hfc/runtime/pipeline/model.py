"""Several devices that run one model: each the layers of its stage, with a thread of its own, one step after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

import numpy as np

from hfc.bundles.stages import check_stages
from hfc.runtime.limits import check_draft_step, check_step, tap_buffer
from hfc.runtime.pipeline.plan import joined_plan
from hfc.runtime.pipeline.worker import Flight, HeldResult, StageModel, StageWorker
from hfc.runtime.sampler import Sampler
from hfc.step import Step


class StagedModel:
    """A runtime.decoding.Model. Used by one thread, as any model.

    depth: steps that can be on their way at a time without one waiting for another: one a stage.  A step whose logits nobody
    wants is begun and not waited for, so that the chunks of a prompt follow each other through the stages."""

    def __init__(self, stages: Sequence[StageModel]):
        plans = [stage.plan for stage in stages]
        check_stages(plans, "pipeline")
        self.stages, self.plan, self.depth = tuple(stages), joined_plan(plans), len(stages)
        self.vocab, self.context, self.slots = self.plan.vocab, self.plan.context, self.plan.slots
        self.max_rows, self.max_outputs = self.plan.max_rows, self.plan.max_outputs
        workers: list[StageWorker] = []
        for stage in reversed(stages):
            workers.insert(0, StageWorker(stage, workers[0] if workers else None))
        self._workers = workers
        self._unseen: deque[Future] = deque()  # steps that nobody waits for
        self._flying: list[Future] = []  # all that were begun, but those known to have ended
        self._held: Flight | None = None  # one that has not begun

    def forward(self, step: Step) -> np.ndarray:
        """Run one step; the logits, f32 [R, vocab]."""
        return self.start(step).result()

    def start(self, step: Step, samplers: Sequence[Sampler] | None = None) -> Future:
        """Begin a step: its logits, or with samplers the tokens that they choose on the last device. At once for a step without any.

        A step that has the stages to itself begins when another is started, or when somebody waits for it, who then takes it through
        them: waking a thread for each stage costs a token 0.2 ms and more."""
        check_step(step, self.plan)
        self._begin_held()
        self._settle(self.depth)
        flight = Flight(step, _forward if samplers is None else _choose(samplers))
        if not len(step.output_rows):
            self._begin(flight)
            self._unseen.append(flight.result)
            nothing: Future = Future()
            nothing.set_result(np.empty((0, self.vocab), np.float32))
            return nothing
        if all(other.done() for other in self._flying):
            flight.result = HeldResult(lambda: self._take(flight))
            self._held = flight
        else:
            self._begin(flight)
        return flight.result

    def _begin(self, flight: Flight) -> None:
        self._flying = [other for other in self._flying if not other.done()] + [flight.result]
        self._workers[0].fly(flight)

    def _begin_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._begin(held)

    def _take(self, flight: Flight) -> None:
        """The step that was held, by this thread; nothing for one that has begun."""
        if self._held is not flight:
            return
        self._held, found = None, None
        try:
            for worker in self._workers:
                found = worker.run(flight)
        except BaseException as error:  # of any type: raised where the step is waited for, as of one that others ran
            flight.result.set_exception(error)
            return
        flight.result.set_result(found)

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step that is to verify them, see DraftPlan: the last stage has the draft."""
        check_draft_step(step, self.plan)
        self.settle()
        return self._workers[-1].call(lambda model: model.draft(step)).result()

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        """Rows [first, first + count) of a tap of the last step, f32 [count, width]."""
        tap_buffer(self.plan, name)
        self.settle()
        return self._workers[-1].call(lambda model: model.tap(name, first, count)).result()

    def settle(self) -> None:
        """Wait for the steps that were begun without anybody waiting; what went wrong in them is raised here."""
        self._settle(0)

    def abandon(self) -> None:
        """Wait for the steps that nobody waits for, whatever became of them; none is held any longer."""
        self._begin_held()
        wait(self._unseen)
        self._unseen.clear()

    def close(self) -> None:
        """End the stages. The model cannot run afterwards."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()
            worker.model.close()

    def _settle(self, most: int) -> None:
        while self._unseen and (len(self._unseen) > most or self._unseen[0].done()):
            self._unseen.popleft().result()


class SamplingStagedModel(StagedModel):
    """A pipeline whose last device chooses tokens itself (runtime.decoding.SamplesItself)."""

    def next_tokens(self, step: Step, samplers: Sequence[Sampler]) -> list[int]:
        return self.start(step, samplers).result()


def pipeline_of(stages: Sequence[StageModel]) -> StagedModel:
    """The model that these stages are."""
    return (SamplingStagedModel if hasattr(stages[-1], "next_tokens") else StagedModel)(stages)


def _forward(model: Any, step: Step) -> np.ndarray:
    return model.forward(step)


def _choose(samplers: Sequence[Sampler]) -> Callable[[Any, Step], list[int]]:
    return lambda model, step: model.next_tokens(step, samplers)

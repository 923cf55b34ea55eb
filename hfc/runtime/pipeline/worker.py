"""The thread of one stage: it runs the steps that come in, in order, and hands each on to the next stage."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import field
from typing import Any, Protocol

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.plan import Plan
from hfc.step import Step


class StageModel(Protocol):
    """A loaded plan of one stage. The last one is a Model besides."""

    plan: Plan

    def receive(self, values: Mapping[str, Any]) -> None:
        """What the next step finds in its buffers, f32 [T, width] by name; of another card perhaps as DeviceRows."""
        ...

    def hand_on(self, step: Step) -> Mapping[str, Any]:
        """Run a step; what it leaves for the stages after it, f32 [T, width] by name, or DeviceRows where all of them can read those."""
        ...

    def close(self) -> None: ...


class HeldResult(Future):
    """What comes of a step that has not begun. take: called by who waits for it; runs the step, unless it has begun meanwhile."""

    def __init__(self, take: Callable[[], None]):
        super().__init__()
        self._take_step = take

    def result(self, timeout: float | None = None) -> Any:
        self._take_step()
        return super().result(timeout)


@dataclass
class Flight:
    """A step on its way. finish: what the last stage does with it.  result: of that.  values: what the stages so far have sent."""

    step: Step
    finish: Callable[[Any, Step], Any]
    result: Future = field(default_factory=Future)
    values: dict[str, Any] = field(default_factory=dict)


class StageWorker:
    """Runs one stage. next_stage: where its steps go, None for the last."""

    def __init__(self, model: StageModel, next_stage: StageWorker | None):
        self.model, self._next = model, next_stage
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"hfc-stage-{model.plan.stage.number}", daemon=True)
        self._thread.start()

    def fly(self, flight: Flight) -> None:
        """Run a step after those that came before."""
        self._jobs.put(lambda: self._fly(flight))

    def call(self, work: Callable[[Any], Any]) -> Future:
        """Something else on the stage's model, in the order of its steps."""
        found: Future = Future()
        self._jobs.put(lambda: _settle(found, lambda: work(self.model)))
        return found

    def close(self) -> None:
        """End the thread, after what it still has to do."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def run(self, flight: Flight) -> Any:
        """The stage's part of a step, in the thread that calls: of the last one what comes of it. Nothing else may run on the stage."""
        self.model.receive({name: flight.values[name] for name in self.model.plan.stage.received})
        if self._next is None:
            found = flight.finish(self.model, flight.step)
            flight.values.clear()  # their memory may be used again
            return found
        flight.values |= self.model.hand_on(_without_logits(flight.step))
        return None

    def _fly(self, flight: Flight) -> None:
        try:
            found = self.run(flight)
        except BaseException as error:  # of any type: whoever waits for the step must hear of it
            flight.result.set_exception(error)
            return
        if self._next is not None:
            self._next.fly(flight)
            return
        flight.result.set_result(found)


def _settle(found: Future, work: Callable[[], Any]) -> None:
    try:
        found.set_result(work())
    except BaseException as error:  # of any type: whoever waits must hear of it
        found.set_exception(error)


def _without_logits(step: Step) -> Step:
    return Step(step.tokens, step.segments, np.empty(0, np.int32), step.guessed, step.observed, step.prompts)

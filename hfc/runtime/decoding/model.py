"""What decoding asks of a loaded model, and the one place that runs a step of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.runtime.sampler import Sampler
from hfc.runtime.speculate.accept import RowSampler
from hfc.step import Step

Samplers = Sequence[Sampler | RowSampler]


class Model(Protocol):
    """A loaded plan. States live inside; a segment at position 0 starts its slot afresh.

    vocab: logits a row.  context: positions a slot can hold.  max_rows: most rows of one step.
    """

    vocab: int
    context: int
    max_rows: int

    def forward(self, step: Step) -> np.ndarray:
        """Logits of the rows that the step asks for, f32 [R, vocab]; R may be 0."""
        ...


@runtime_checkable
class SamplesItself(Protocol):
    """A model whose device also chooses tokens, so that logits need not leave it."""

    def next_tokens(self, step: Step, samplers: Samplers) -> list[int]:
        """Run one step and choose a token for each row that it asks for."""
        ...


@runtime_checkable
class RunsCycles(SamplesItself, Protocol):
    """A model whose device also drafts: guesses, the step that verifies them and the choice of tokens are one call."""

    def cycle(self, step: Step, samplers: Samplers) -> tuple[list[int], list[int]]:
        """The tokens of the step [T] with guesses in place, and a token for each row that it asks for."""
        ...


@runtime_checkable
class Overlaps(Protocol):
    """A model that can have several steps on their way: one begins before another has ended, if they share no slot.

    depth: how many keep it busy."""

    depth: int

    def start(self, step: Step, samplers: Samplers | None = None) -> Future:
        """Begin a step: its logits, or the tokens that samplers choose."""
        ...


class Awaited(Protocol):
    def result(self) -> Any:
        """What a step on its way brings. Waits for it."""
        ...


@runtime_checkable
class RunsAhead(SamplesItself, Protocol):
    """A model whose device goes on with the tokens that it chooses, before the host has seen them.

    runs_ahead: whether this one does."""

    runs_ahead: bool

    def queue(self, step: Step, samplers: Samplers, follows: bool = False) -> Awaited:
        """Begin a step; another one may be on its way. follows: its tokens are what that one chooses, see Step.follows."""
        ...


class Drafts(Protocol):
    """A model whose plan has a draft."""

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step: tokens i32 [T] and logits f32 [T, vocab]."""
        ...


@dataclass(frozen=True)
class Begun:
    """A step that may still be on its way (underway). found: once it has ended, the tokens that the device chose if it does
    (chooses), else the logits."""

    step: Step
    chooses: bool
    found: Any = None
    underway: Awaited | None = None

    def result(self) -> tuple[Step, list[int] | None, np.ndarray | None]:
        """The step, its tokens, its logits: see StepRunner.run. Waits for it."""
        found = self.found if self.underway is None else self.underway.result()
        return (self.step, found, None) if self.chooses else (self.step, None, found)


class StepRunner:
    """Runs steps on a model. samples, cycles: what its device does itself; asking a protocol takes microseconds.

    depth: steps that keep the model busy."""

    def __init__(self, model: Model):
        self.model = model
        self.samples, self.cycles = isinstance(model, SamplesItself), isinstance(model, RunsCycles)
        self._overlaps = isinstance(model, Overlaps)
        self.runs_ahead = isinstance(model, RunsAhead) and model.runs_ahead
        self.depth = model.depth if self._overlaps else 1

    def run(
        self, step: Step, samplers: Callable[[Step], Samplers] | None = None
    ) -> tuple[Step, list[int] | None, np.ndarray | None]:
        """The step with the guesses of the plan's draft in their places, and a token for each row that it asks for where the
        device chooses, else the logits f32 [R, vocab].

        samplers: one for each wanted row of a step whose guesses are known as far as the host knows them; None for logits."""
        return self.start(step, samplers).result()

    def queue(self, step: Step, samplers: Samplers, follows: bool) -> Begun:
        """Begin a step that another may follow before it has ended, on a model that runs ahead."""
        return Begun(step, True, underway=self.model.queue(step, samplers, follows))

    def start(self, step: Step, samplers: Callable[[Step], Samplers] | None = None) -> Begun:
        """Begin a step, as `run` runs it. On a model that has one at a time it has ended then."""
        samplers = samplers if self.samples else None
        if step.guessed and samplers and self.cycles:
            tokens, chosen = self.model.cycle(step, samplers(step))
            return Begun(replace(step, tokens=np.array(tokens, np.int32)), True, chosen)
        if step.guessed:
            step = self._filled(step)
        choosing = samplers(step) if samplers and len(step.output_rows) else None
        if self._overlaps:
            return Begun(step, choosing is not None, underway=self.model.start(step, choosing))
        if choosing is not None:
            return Begun(step, True, self.model.next_tokens(step, choosing))
        return Begun(step, False, self.model.forward(step))

    def _filled(self, step: Step) -> Step:
        """The step with the draft's guesses; only the segments that have some are drafted for."""
        last = step.segments[step.guessed - 1]
        rows = last.row + last.rows
        part = Step(step.tokens[:rows], step.segments[: step.guessed], np.empty(0, np.int32), step.guessed)
        tokens = step.tokens.copy()
        tokens[:rows] = self.model.draft(part)[0]
        return replace(step, tokens=tokens)

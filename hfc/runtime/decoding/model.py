"""What decoding asks of a loaded model, and the one place that runs a step of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

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


class Drafts(Protocol):
    """A model whose plan has a draft."""

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step: tokens i32 [T] and logits f32 [T, vocab]."""
        ...


class StepRunner:
    """Runs steps on a model. samples, cycles: what its device does itself; asking a protocol takes microseconds."""

    def __init__(self, model: Model):
        self.model = model
        self.samples, self.cycles = isinstance(model, SamplesItself), isinstance(model, RunsCycles)

    def run(
        self, step: Step, samplers: Callable[[Step], Samplers] | None = None
    ) -> tuple[Step, list[int] | None, np.ndarray | None]:
        """The step with the guesses of the plan's draft in their places, and a token for each row that it asks for where the
        device chooses, else the logits f32 [R, vocab].

        samplers: one for each wanted row of a step whose guesses are known as far as the host knows them; None for logits."""
        samplers = samplers if self.samples else None
        if step.guessed and samplers and self.cycles:
            tokens, chosen = self.model.cycle(step, samplers(step))
            return replace(step, tokens=np.array(tokens, np.int32)), chosen, None
        if step.guessed:
            step = self._filled(step)
        if samplers and len(step.output_rows):
            return step, self.model.next_tokens(step, samplers(step)), None
        return step, None, self.model.forward(step)

    def _filled(self, step: Step) -> Step:
        """The step with the draft's guesses; only the segments that have some are drafted for."""
        last = step.segments[step.guessed - 1]
        rows = last.row + last.rows
        part = Step(step.tokens[:rows], step.segments[: step.guessed], np.empty(0, np.int32), step.guessed)
        tokens = step.tokens.copy()
        tokens[:rows] = self.model.draft(part)[0]
        return replace(step, tokens=tokens)

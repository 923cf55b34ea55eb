"""Drafts in the engine's steps: several tokens of a sequence are checked at once, beside others that get one."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import replace

import numpy as np

from hfc.runtime.executor import Loaded
from hfc.runtime.generate import RunsCycles, SamplesItself
from hfc.runtime.speculate.accept import RowSampler, row_samplers
from hfc.runtime.speculate.costs import STEP
from hfc.runtime.speculate.speculator import Block, Speculation
from hfc.serve.scheduler import Limits, Work
from hfc.serve.sequence import Phase, Sequence
from hfc.step import DECODE_ROWS, Segment, Step


class Drafting:
    """Used by the engine's thread only. Without `speculation` every step is plain."""

    def __init__(self, speculation: Speculation | None, model: Loaded, limits: Limits, own: Callable):
        """own: runs what concerns one sequence alone; None comes back when that failed and the sequence has ended."""
        self._own = own
        self._speculation, self._model, self._limits = speculation, model, limits
        self._has_own = speculation is not None and speculation.has_own
        self._rows = min(limits.max_rows, limits.max_outputs)
        self._on_device, self._cycles = isinstance(model, SamplesItself), isinstance(model, RunsCycles)
        if self._on_device:  # more rows would run another program, whose sums have another order
            self._rows = min(self._rows, DECODE_ROWS)

    def begin(self, sequence: Sequence) -> None:
        """A sequence got its slot, which holds the beginning of its prompt."""
        if self._speculation:
            sequence.speculator = self._speculation.start(sequence.prompt[: sequence.position].tolist())

    def read(self, sequence: Sequence, tokens: Items[int]) -> None:
        """A sequence goes on with these tokens."""
        if sequence.speculator:
            sequence.speculator.note(tokens)

    def count(self, sequence: Sequence, drafts: int, token: int) -> None:
        """The first, second, ... token of a step that checked so many drafts: its answer may end with it."""
        usage, speculator = sequence.usage, sequence.speculator
        if drafts and token == 1:
            usage.drafting = speculator.track.reason if usage.cycles else speculator.choice.offer.kind
            usage.cycles, usage.drafted = usage.cycles + 1, usage.drafted + drafts
        elif drafts:
            usage.accepted += 1

    def extend(self, work: list[Work]) -> list[Work]:
        """The same step with drafts where they pay; those that the model itself guesses come first. Beside prompts nobody drafts:
        such steps are long."""
        if not self._speculation or any(part.sequence.phase is not Phase.DECODE for part in work):
            return work
        rows, tokens, parts = len(work), float(len(work)), []
        for part in work:
            sequence = part.sequence
            block = self._own(sequence, self._propose, sequence, self._rows - rows, rows - 1, tokens - 1)
            if block is None:
                continue
            parts.append(replace(part, rows=1 + len(block.drafts), outputs=1 + len(block.drafts), block=block))
            rows += len(block.drafts)
            tokens += sequence.speculator.choice.tokens - 1
        return sorted(parts, key=lambda part: not part.block.is_guessed)

    def _propose(self, sequence: Sequence, rows: int, others: int, others_tokens: float) -> Block:
        room, can_guess = self._room(sequence, rows), self._can_guess(sequence)
        return sequence.speculator.propose(room, others, others_tokens, can_guess)

    def run(self, step: Step, work: list[Work]) -> tuple[Step, list[int] | None, np.ndarray | None]:
        """The step with guesses in place, and a token for each row that it asks for, or logits f32 [R, vocab] to choose from."""
        # If any sequence in the step drafts, record draft inputs for all of them; for prompts always, because they go into the prefix
        # cache, where a sequence that drafts may find them.
        step = replace(
            step,
            observed=self._has_own
            and any(part.sequence.phase is not Phase.DECODE or part.sequence.speculator.observes for part in work),
        )
        on_device = self._on_device and not any(part.sequence.needs_logits for part in work)
        if step.guessed and on_device and self._cycles:
            tokens, chosen = self._model.cycle(step, self._samplers(step, work))
            return replace(step, tokens=np.array(tokens, np.int32)), chosen, None
        if step.guessed:
            step = self._filled(step)
        if on_device and len(step.output_rows):
            return step, self._model.next_tokens(step, self._samplers(step, work)), None
        return step, None, self._model.forward(step)

    def settle(self, work: list[Work], brought: Items[int], seconds: float) -> None:
        """A step is over. brought: tokens of each part, if all of them decoded."""
        if not self._speculation or len(brought) < len(work) or not all(brought):
            return
        own = next((part.sequence.speculator.choice.offer for part in work if part.block.is_guessed), None)
        results = [
            (part.sequence.speculator.track, part.sequence.speculator.choice, n) for part, n in zip(work, brought)
        ]
        self._speculation.governor.settle(own.cost_kind if own else STEP, seconds, results)

    def _room(self, sequence: Sequence, rows: int) -> int:
        """Drafts that the step, the context and the request still have use for. What a device may choose behind a draft that
        a grammar has not seen is not known."""
        if sequence.job.guides and self._on_device and not sequence.needs_logits:
            return 0
        room = min(rows, self._limits.context - sequence.position - 1)
        limit = sequence.job.max_tokens
        return room if limit is None else min(room, limit - len(sequence.tokens) - 1)

    def _can_guess(self, sequence: Sequence) -> bool:
        """A device that drafts and chooses in one call cannot count drafts among the tokens that penalties look at."""
        return sequence.needs_logits or not (self._cycles and sequence.sampler.has_penalties)

    def _samplers(self, step: Step, work: list[Work]) -> list[RowSampler]:
        """One for each wanted row, as if the drafts before it had been chosen."""
        found: list[RowSampler] = []
        for part, segment in zip(work, step.segments):
            first = segment.row + segment.rows - part.outputs
            drafts = tuple(step.tokens[first + 1 : segment.row + segment.rows].tolist()) if part.outputs > 1 else ()
            if drafts:
                found += row_samplers(part.sequence.sampler, drafts)[: part.outputs]
            elif part.outputs:
                found.append(RowSampler(part.sequence.sampler, (), part.sequence.limits))
        return found

    def _filled(self, step: Step) -> Step:
        """The step with the draft's guesses; only the segments that have some are drafted for."""
        last = step.segments[step.guessed - 1]
        rows = last.row + last.rows
        part = Step(step.tokens[:rows], step.segments[: step.guessed], np.empty(0, np.int32), step.guessed)
        tokens = step.tokens.copy()
        tokens[:rows] = self._model.draft(part)[0]
        return replace(step, tokens=tokens)


def flushed(sequence: Sequence) -> Step:
    """A step that does nothing but commit what counts of a sequence's latest drafts."""
    nothing = np.empty(0, np.int32)
    return Step(nothing, (Segment(sequence.slot, 0, 0, sequence.position, sequence.waiting),), nothing)

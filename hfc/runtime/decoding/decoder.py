"""The decode loop: what a step runs for each sequence, and what it brings them. `hfc run` is a batch of one, the server one of many."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import Any, NamedTuple

import numpy as np

from hfc.runtime.decoding.model import Begun, Model, StepRunner
from hfc.runtime.decoding.state import DecodeState, Phase, Work, make_step
from hfc.runtime.not_finite import located
from hfc.runtime.sampler import NotNumbers
from hfc.runtime.speculate.accept import RowSampler, row_samplers
from hfc.runtime.speculate.costs import STEP
from hfc.runtime.speculate.speculator import Block, Speculation
from hfc.step import DECODE_ROWS, Segment, Step


class StepResult(NamedTuple):
    """What a step brought a part of its work: the drafts that it checked, and for each wanted row the token that the device chose,
    or logits f32 [outputs, vocab].  step, model: of which it is a part."""

    part: Work
    segment: Segment
    drafts: list[int]
    chosen: list[int] | None
    logits: np.ndarray | None
    step: Step
    model: Model

    def choose(self, row: int) -> tuple[int, Any]:
        """The token of a wanted row, as the device or the sequence chooses it; HfcError for logits that are not numbers."""
        sequence = self.part.sequence
        try:
            if self.chosen is None:
                return sequence.choose(self.logits[row])
            return sequence.sampler.accept(self.chosen[row]), None
        except NotNumbers as error:
            raise located(error, self.model, self.step, self.segment) from None


def _directly(sequence: DecodeState, work: Callable, *arguments):
    return work(*arguments)


class Decoder:
    """Used by one thread only. Without `speculation` every step is plain.

    rows: most of a step that verifies drafts.  keeps_prompts: prompts are found again by others, who may ask the plan's draft.
    own: runs what concerns one sequence alone; None comes back when that failed and the sequence has ended.
    """

    def __init__(
        self, model: Model, speculation: Speculation | None, rows: int, context: int, keeps_prompts: bool = False,
        own: Callable = _directly,
    ):  # fmt: skip
        self._runner, self._speculation, self._context = StepRunner(model), speculation, context
        self._keeps_prompts, self._own = keeps_prompts, own
        self._has_own = speculation is not None and speculation.has_own
        self.on_device, self.depth = self._runner.samples, self._runner.depth
        # on a device more rows would run another program, whose sums have another order
        self._rows = min(rows, DECODE_ROWS) if self.on_device else rows

    def begin(self, sequence: DecodeState) -> None:
        """A sequence got its slot, which holds the beginning of its prompt."""
        if self._speculation:
            sequence.speculator = self._speculation.start(sequence.prompt[: sequence.position].tolist())

    def read(self, sequence: DecodeState, tokens: Items[int]) -> None:
        """A sequence goes on with these tokens."""
        if sequence.speculator:
            sequence.speculator.note(tokens)

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
            parts.append(part._replace(rows=1 + len(block.drafts), outputs=1 + len(block.drafts), block=block))
            rows += len(block.drafts)
            tokens += sequence.speculator.choice.tokens - 1
        return sorted(parts, key=lambda part: not part.block.is_guessed)

    def run(self, work: list[Work]) -> tuple[Step, list[StepResult]]:
        """One step for all of the work, and what it brings each part."""
        return self.finish(work, self.start(work))

    def can_lead(self, work: list[Work]) -> bool:
        """Whether the step after this work's needs nothing of the host but its place: the device knows the tokens, which neither
        drafts, grammars nor penalties ask for, and no answer is known to end before."""
        return self._runner.runs_ahead and all(map(self._can_lead, work))

    def lead(self, work: list[Work], follows: bool = False) -> Begun:
        """Begin the step of this work; one that follows may be begun before it has ended. follows: such a one of the same work is on
        its way. Of a sequence that ends meanwhile the slot then holds the last token too, see `surplus`."""
        step = make_step(work, observed=self._has_own and any(map(self._observes, work)), ahead=int(follows))
        ahead = (0,) * follows
        return self._runner.queue(step, [RowSampler(part.sequence.sampler, ahead) for part in work], follows)

    def surplus(self, sequence: DecodeState) -> None:
        """A step of a sequence has ended that had ended itself: its slot has read the last token, whose successor nobody wants."""
        sequence.position += 1

    def start(self, work: list[Work]) -> Begun:
        """Begin that step."""
        step = make_step(work, observed=self._has_own and any(map(self._observes, work)))
        on_device = self.on_device and not any(part.sequence.needs_logits for part in work)
        return self._runner.start(step, (lambda filled: self._samplers(filled, work)) if on_device else None)

    def finish(self, work: list[Work], begun: Begun) -> tuple[Step, list[StepResult]]:
        """Wait for a step that was begun for this work; what it brings each part."""
        step, chosen, logits = begun.result()
        row, results = 0, []
        for part, segment in zip(work, step.segments):
            rows = slice(row, row := row + part.outputs)
            has_drafts = segment.rows > 1 and part.sequence.phase is Phase.DECODE
            drafts = step.tokens[segment.row + 1 : segment.row + segment.rows].tolist() if has_drafts else []
            results.append(
                StepResult(
                    part,
                    segment,
                    drafts,
                    chosen and chosen[rows],
                    None if logits is None else logits[rows],
                    step,
                    self._runner.model,
                )
            )
        return step, results

    def accept(self, result: StepResult, take: Callable[[StepResult, int, Any, int], None]) -> int:
        """Take the tokens of a sequence that decodes, as far as its drafts were right: how many they are. See speculate/accept.

        take: called with the result, each token, what choosing it told, and how many it is of this step; may end the sequence."""
        sequence, drafts, count = result.part.sequence, result.drafts, 0
        before = sequence.position
        for draft in (*drafts, None):
            token, told = result.choose(count)
            count += 1
            sequence.position, sequence.waiting = before + count, count if drafts else 0
            self.read(sequence, (token,))
            take(result, token, told, count)
            if token != draft or sequence.phase is Phase.DONE:
                break
        return count

    def settle(self, work: list[Work], brought: Items[int], seconds: float) -> None:
        """A step is over. brought: tokens of each part, if all of them decoded."""
        if not self._speculation or len(brought) < len(work) or not all(brought):
            return
        own = next((part.sequence.speculator.choice.offer for part in work if part.block.is_guessed), None)
        results = [
            (part.sequence.speculator.track, part.sequence.speculator.choice, n) for part, n in zip(work, brought)
        ]
        self._speculation.governor.settle(own.cost_kind if own else STEP, seconds, results)

    def _can_lead(self, part: Work) -> bool:
        sequence = part.sequence
        if sequence.phase is not Phase.DECODE or part.rows != 1 or sequence.needs_logits or sequence.is_guided:
            return False
        if sequence.waiting or sequence.sampler.has_penalties:
            return False
        if sequence.speculator and not sequence.speculator.rests:
            return False
        limit = sequence.max_tokens
        return sequence.position + 1 < self._context and (limit is None or len(sequence.tokens) + 1 < limit)

    def _observes(self, part: Work) -> bool:
        """If any sequence in the step drafts, the draft model's inputs are recorded for all of them."""
        is_kept = self._keeps_prompts and part.sequence.phase is not Phase.DECODE
        return is_kept or part.sequence.speculator.observes

    def _propose(self, sequence: DecodeState, rows: int, others: int, others_tokens: float) -> Block:
        room, can_guess = self._room(sequence, rows), self._can_guess(sequence)
        return sequence.speculator.propose(room, others, others_tokens, can_guess)

    def _room(self, sequence: DecodeState, rows: int) -> int:
        """Drafts that the step, the context and the request still have use for. What a device may choose after a draft that
        a grammar has not seen is not known."""
        if sequence.is_guided and self.on_device and not sequence.needs_logits:
            return 0
        room = min(rows, self._context - sequence.position - 1)
        limit = sequence.max_tokens
        return room if limit is None else min(room, limit - len(sequence.tokens) - 1)

    def _can_guess(self, sequence: DecodeState) -> bool:
        """A device that drafts and chooses in one call cannot count drafts among the tokens that penalties look at."""
        return sequence.needs_logits or not (self._runner.cycles and sequence.sampler.has_penalties)

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

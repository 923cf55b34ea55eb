"""A sequence as steps see it, and its part of a step."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hfc.runtime.sampler import Sampler
from hfc.runtime.speculate.speculator import ALONE, Block, Speculator
from hfc.sampling import TokenLimits
from hfc.step import Segment, Step


class Phase(enum.Enum):
    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    DONE = "done"


class DecodeState:
    """position: tokens that the slot's state holds, the last `waiting` of them in its journal.  tokens: those of the answer.

    needs_logits: its tokens are chosen on the host, as a device that samples gives no log probabilities.  limits: of the next token,
    where a device chooses it.  is_guided: what may follow a token depends on it, and is not known before.
    """

    def __init__(self, prompt: Sequence[int], sampler: Sampler, max_tokens: int | None = None, slot: int | None = None):
        self.prompt = np.asarray(prompt, np.int32)
        self.sampler, self.max_tokens, self.slot = sampler, max_tokens, slot
        self.phase = Phase.WAITING
        self.position = self.waiting = 0
        self.tokens: list[int] = []
        self.speculator: Speculator | None = None
        self.limits: TokenLimits | None = None
        self.needs_logits = self.is_guided = False

    def choose(self, logits: np.ndarray) -> tuple[int, Any]:
        """The next token of f32 logits [vocab], on the host, and what else is to be told of it."""
        return self.sampler.choose(logits), None


class Work(NamedTuple):
    """A sequence's part of a step: `rows` tokens from its position on; outputs: how many of the last rows' logits are wanted.

    block: drafts after the latest token of a sequence that decodes.
    """

    sequence: DecodeState
    rows: int
    outputs: int
    block: Block = ALONE


def make_step(work: list[Work], observed: bool = True, ahead: int = 0) -> Step:
    """One segment for each part of the work; those that the model guesses itself come first. ahead: steps of this work that are on
    their way; the device knows which tokens they choose."""
    tokens: list[int] = []
    segments: list[Segment] = []
    wanted: list[int] = []
    row = 0
    for part in work:
        sequence = part.sequence
        at = sequence.position + ahead
        if sequence.phase is Phase.DECODE:
            tokens += (sequence.tokens[-1], *part.block.drafts)
        else:
            tokens += sequence.prompt[at : at + part.rows].tolist()
        segments.append(Segment(sequence.slot, row, part.rows, at, sequence.waiting, commit=not part.block.drafts))
        row += part.rows
        wanted.extend(range(row - part.outputs, row))
    guessed = sum(part.block.is_guessed for part in work)
    return Step(
        np.array(tokens, np.int32),
        tuple(segments),
        np.array(wanted, np.int32),
        guessed,
        observed,
        prompts=any(part.sequence.phase is not Phase.DECODE for part in work),
    )


def flushed(sequence: DecodeState) -> Step:
    """A step that does nothing but commit what counts of a sequence's latest drafts."""
    nothing = np.empty(0, np.int32)
    return Step(nothing, (Segment(sequence.slot, 0, 0, sequence.position, sequence.waiting),), nothing)

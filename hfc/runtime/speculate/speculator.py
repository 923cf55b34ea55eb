"""Speculation for one sequence: asks its drafters, lets the governor choose, and keeps both informed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hfc.runtime.speculate.costs import STEP
from hfc.runtime.speculate.drafter import Draft, Drafter
from hfc.runtime.speculate.governor import BLOCKS, PLAIN, Choice, Governor, Offer, Track

MOST_ROWS = BLOCKS[-1]
MakeDrafter = Callable[[Sequence[int]], Drafter]


class Speculation:
    """What the sequences of a model share: how their drafters are made, and the governor. rows: most of a verify step."""

    def __init__(self, drafters: Sequence[MakeDrafter], rows: int = MOST_ROWS, governor: Governor | None = None):
        self._drafters = tuple(drafters)
        self.rows = min(rows, MOST_ROWS)
        self.governor = governor or Governor()

    def start(self, prompt: Sequence[int]) -> Speculator:
        """For a sequence that begins with these tokens."""
        return Speculator(self, [make(prompt) for make in self._drafters])


class Speculator:
    """One sequence. Before each step `propose`, after it `note` and, with its time, `settle`.

    waiting: rows of the latest step that count and that the next one has to commit.
    """

    def __init__(self, shared: Speculation, drafters: Sequence[Drafter]):
        self.track, self.waiting = Track(), 0
        self.choice: Choice = PLAIN
        self._governor, self._rows = shared.governor, shared.rows
        self._drafters = drafters

    def propose(self, most: int, others: int = 0) -> tuple[int, ...]:
        """At most `most` drafts for the next step, none for plain decoding. others: rows of other sequences in the step."""
        most = min(most, self._rows - 1)
        drafts: dict[Offer, Draft] = {}
        for drafter in self._drafters:
            if draft := drafter.draft(most):
                drafts[Offer(drafter.name, len(draft.tokens), draft.grade)] = draft
        self.choice = self._governor.choose(self.track, list(drafts), most, others) if drafts else PLAIN
        return drafts[self.choice.offer].tokens[: self.choice.drafts] if self.choice.drafts else ()

    def note(self, tokens: Sequence[int]) -> None:
        """The step brought these tokens."""
        self.waiting = len(tokens) if self.choice.drafts else 0
        for drafter in self._drafters:
            drafter.extend(tokens)

    def settle(self, tokens: int, seconds: float) -> None:
        """The step brought `tokens` tokens to this sequence alone, and took so long."""
        self._governor.settle(STEP, seconds, [(self.track, self.choice, tokens)])

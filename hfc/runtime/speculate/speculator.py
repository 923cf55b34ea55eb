"""Speculation for one sequence: asks its drafters, lets the governor choose, and keeps both informed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from hfc.base.dataclass import dataclass
from hfc.plan import DraftPlan as OwnDraft
from hfc.runtime.speculate.drafter import Drafter
from hfc.runtime.speculate.governor import BLOCKS, PLAIN, BlockChoice, Governor, Offer, Track

MOST_ROWS = BLOCKS[-1]
LONGEST_REST = 6  # steps
SELDOM = 8  # one sequence in 8 has a draft whose record is bad
MakeDrafter = Callable[[Sequence[int]], Drafter]


@dataclass(frozen=True)
class Block:
    """What a step runs after the latest token: drafts, or places that the plan's own draft will fill."""

    drafts: tuple[int, ...] = ()
    is_guessed: bool = False


ALONE = Block()


class Speculation:
    """What the sequences of a model share: how their drafters are made, the governor, and the plan's own draft if it has one.

    rows: most of a verify step.
    """

    def __init__(
        self,
        drafters: Sequence[MakeDrafter],
        rows: int = MOST_ROWS,
        governor: Governor | None = None,
        own: OwnDraft | None = None,
    ):
        self._drafters, self._own = tuple(drafters), own
        self._offer = Offer(own.name, own.block - 1, in_cycle=True) if own else None
        self._started = 0
        self.rows = min(rows, MOST_ROWS)
        self.governor = governor or Governor()
        self._untouched = copy.deepcopy(self.governor)

    def start(self, prompt: Sequence[int]) -> Speculator:
        """For a sequence that begins with these tokens."""
        self._started += 1
        is_asked = self._offer and (self._started % SELDOM == 1 or self.governor.has_hope(self._offer))
        return Speculator(
            self, [make(prompt) for make in self._drafters], self._offer if is_asked else None, self._mask
        )

    def fresh(self) -> Speculation:
        """The same drafters with nothing remembered of how they did."""
        return Speculation(self._drafters, self.rows, copy.deepcopy(self._untouched), self._own)

    @property
    def has_own(self) -> bool:
        """Whether the plan has a draft of its own that may be asked."""
        return self._own is not None

    @property
    def _mask(self) -> int:
        """What stands for a guess of the plan's draft."""
        return (self._own.mask_token or 0) if self._own else 0


class Speculator:
    """One sequence. Before each step `propose`, after it `note`.

    own: what the plan's draft offers, None where it is not asked.
    """

    def __init__(self, shared: Speculation, drafters: Sequence[Drafter], own: Offer | None, mask: int):
        self.track = Track()
        self.choice: BlockChoice = PLAIN
        self._governor, self._rows = shared.governor, shared.rows
        self._drafters, self._own, self._mask = drafters, own, mask
        self._unread: list[int] = []  # tokens that the drafters have not seen yet
        self._rest = self._idle = 0  # steps that nobody is asked for; steps without drafts, one after the other

    @property
    def observes(self) -> bool:
        """Whether steps must record the draft model's inputs. Once they did not, it has gaps: it is not asked again."""
        return self._own is not None and self._own.key not in self.track.given_up

    @property
    def rests(self) -> bool:
        """Whether the next step is a plain one, whatever this one brings."""
        return self._rest > 0

    def propose(self, most: int, others: int = 0, others_tokens: float | None = None, can_guess: bool = True) -> Block:
        """At most `most` drafts for the next step, none for plain decoding.

        others: rows of other sequences in the step, which should bring others_tokens.
        can_guess: whether the plan's own draft may be asked.
        """
        if self._rest:
            self._rest -= 1
            return ALONE
        most = min(most, self._rows - 1)
        drafts = self._offers(most, can_guess)
        self.choice = self._governor.choose(self.track, list(drafts), most, others, others_tokens) if drafts else PLAIN
        if not self.choice.drafts:
            # Asking takes some percent of a short step, so it is done less and less often while nothing comes of it.
            self._idle += 1
            self._rest = min(self._idle // 4, LONGEST_REST)
            return ALONE
        self._idle = 0
        count, tokens = self.choice.drafts, drafts[self.choice.offer]
        return Block((self._mask,) * count, True) if tokens is None else Block(tokens[:count])

    def _offers(self, most: int, can_guess: bool) -> dict[Offer, tuple[int, ...] | None]:
        """What can be drafted now; None for guesses of the plan's own draft, which nobody knows yet."""
        offers: dict[Offer, tuple[int, ...] | None] = {}
        for drafter in self._drafters:
            drafter.extend(self._unread)
            if draft := drafter.draft(most):
                offers[Offer(drafter.name, len(draft.tokens), draft.grade)] = draft.tokens
        self._unread.clear()
        if self.observes and can_guess and most > 0:
            offers[self._own] = None
        return offers

    def note(self, tokens: Sequence[int]) -> None:
        """The step brought these tokens."""
        self._unread.extend(tokens)

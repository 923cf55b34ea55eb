"""Plain decoding or a block of drafts: chosen for each sequence before each step, from measured acceptance and step costs.

A block of k drafts is worth (tokens it is expected to bring) / (seconds of its cycle); plain decoding 1 / (seconds of a step
of one row). The better one runs. Where plain decoding looks better, a small block is tried now and then: texts change.

What speculation may lose is bounded by budgets, one of a sequence and one of all: they earn EARNED of the decoding time and
whatever speculation wins, up to a cap, and pay for what a cycle takes beyond plain decoding of the same tokens. An empty budget
means plain decoding, whatever the estimates say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace

from hfc.base.dataclass import dataclass
from hfc.runtime.speculate.acceptance import Acceptance
from hfc.runtime.speculate.costs import STEP, Costs

BLOCKS = (2, 4, 6, 8, 12, 16)  # rows of a verify step: the latest token and its drafts
PROBE_ROWS = 4
EARNED = 0.01  # share of the decoding time that may go into finding out
START, CAP = 3.0, 12.0  # what a budget holds at first and at most, in plain steps
MARGIN = 1.03  # a block must promise this much more than plain decoding
SOONEST, LATEST = 8, 128  # tokens between two tries; twice as many after each that did not pay
ENOUGH = 6  # minimum number of drafted tokens before acceptance statistics are trusted
# Unprofitable probes after which a drafter is dropped that adds cost to every step even when it is not consulted.
GIVE_UP = 3
HOPE = 0.95  # minimum expected speed, relative to plain decoding, at which such a drafter is kept
SAMPLED = 4
REFRESH = 128  # cycles after which a plain step is timed again: it slows as the context grows


@dataclass(frozen=True)
class Offer:
    """What a drafter can do now. kind: its name.  most: drafts.  in_cycle: its own work is part of the step's time."""

    kind: str
    most: int
    grade: int = 0
    in_cycle: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """What is accepted equally often."""
        return self.kind, self.grade

    @property
    def cost_kind(self) -> str:
        return self.kind if self.in_cycle else STEP


@dataclass(frozen=True)
class BlockChoice:
    """drafts: how many of which offer; 0 is plain decoding.  gain: expected speed over plain decoding.  tokens: expected of
    the step.  is_probe: to learn."""

    drafts: int = 0
    offer: Offer | None = None
    gain: float = 1.0
    tokens: float = 1.0
    is_probe: bool = False


PLAIN = BlockChoice()


@dataclass
class Track:
    """One sequence as the governor sees it. tau: mean tokens of a verify step, its own choice after the drafts included."""

    acceptance: dict[tuple[str, int], Acceptance] = field(default_factory=dict)
    latest: BlockChoice = PLAIN  # the latest that was not plain
    poor: set[tuple[str, int]] = field(default_factory=set)  # offers that did not look worth it when last weighed
    failed: dict[tuple[str, int], int] = field(default_factory=dict)  # unprofitable probes
    given_up: set[tuple[str, int]] = field(default_factory=set)
    budget: float = START
    pause: int = SOONEST
    until_try: int = SOONEST
    since_plain: int = 0
    plain: int = 0  # steps without drafts
    refused: int = 0  # of them, those that the budget could not pay
    cycles: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def tau(self) -> float | None:
        return (self.accepted + self.cycles) / self.cycles if self.cycles else None

    @property
    def reason(self) -> str:
        """What was done and why, for people."""
        if not self.cycles:
            return "plain: nothing to draft from" if not self.refused else "plain: trying has cost enough"
        found = f"{self.latest.offer.kind}, {self.tau:.2f} tokens a cycle"
        if self.accepted + self.cycles > self.plain:
            return found
        why = "trying has cost enough" if self.refused > self.plain // 2 else "drafts would not pay, or there were none"
        return f"mostly plain: {why} ({found})"


class Governor:
    """What all sequences of a model share: step costs, the drafters' record, the budget."""

    def __init__(self):
        self.costs = Costs()
        self.record: dict[tuple[str, int], Acceptance] = {}
        self._budget = START  # in plain steps, however long they take
        self._plain = 0  # steps without drafts since one was timed

    def choose(
        self, track: Track, offers: Sequence[Offer], most: int, others: int = 0, others_tokens: float | None = None
    ) -> BlockChoice:
        """For a sequence that may have `most` drafts in a step in which other sequences have `others` rows, which should bring
        `others_tokens` (one a row if nothing is said)."""
        if track.until_try > 0 and all(o.key in track.poor for o in offers):
            return PLAIN  # weighing costs microseconds, which count where steps are short
        others_tokens = others if others_tokens is None else others_tokens
        plain_s = self.costs.estimate(STEP, others + 1)
        if plain_s is None or most < 1 or track.since_plain >= REFRESH:
            return PLAIN
        blocks = [c for o in offers for c in self._blocks(track, o, min(most, o.most), others, others_tokens, plain_s)]
        budget = min(self._budget, track.budget)
        payable = [c for c in blocks if self._risk(c, others, plain_s) <= budget]
        best = max(payable, key=lambda c: c.gain, default=PLAIN)
        if best.gain >= MARGIN:
            return best
        track.poor.update(c.offer.key for c in blocks)
        track.refused += bool(blocks) and not payable
        if track.until_try > 0:
            return PLAIN
        small = [c for c in payable if c.drafts < PROBE_ROWS]
        return replace(max(small, key=lambda c: c.gain), is_probe=True) if small else PLAIN

    def settle(self, kind: str, seconds: float, results: Sequence[tuple[Track, BlockChoice, int]]) -> None:
        """After a step that only decoded: for each of its sequences the choice and the tokens that it got."""
        rows = sum(choice.drafts + 1 for _, choice, _ in results)
        if rows == len(results):
            self._settle_plain(rows, seconds, results)
            return
        self.costs.record(kind, rows, seconds)
        plain_s = self.costs.estimate(STEP, len(results))
        if plain_s is not None:
            took = seconds / plain_s
            gain = sum(tokens for *_, tokens in results) / len(results) - (1 - EARNED) * took
            self._budget = min(CAP, self._budget + gain)
            for track, choice, _ in results:
                track.budget = min(CAP, track.budget + gain) if choice.drafts else track.budget
        for track, choice, tokens in results:
            self._note(track, choice, tokens)

    def _settle_plain(self, rows: int, seconds: float, results: Sequence[tuple[Track, BlockChoice, int]]) -> None:
        """What happens in most steps is cheap: one of SAMPLED is timed."""
        for track, _, tokens in results:
            track.until_try -= tokens
            track.since_plain = 0
            track.plain += 1
            track.budget += EARNED
        self._budget = min(CAP, self._budget + EARNED)
        self._plain += 1
        if self._plain >= SAMPLED or self.costs.measured(STEP, rows) is None:
            self._plain = 0
            self.costs.record(STEP, rows, seconds)

    def _note(self, track: Track, choice: BlockChoice, tokens: int) -> None:
        track.until_try -= tokens
        if not choice.drafts:
            track.plain += 1
            return
        track.since_plain += 1
        track.latest = choice
        track.poor.clear()
        track.cycles += 1
        track.drafted += choice.drafts
        track.accepted += tokens - 1
        for acceptance in self._acceptances(track, choice.offer):
            acceptance.seen(choice.drafts, tokens - 1)
        if choice.is_probe:
            self._judge(track, choice.offer, is_right=tokens > choice.drafts)

    def _judge(self, track: Track, offer: Offer, is_right: bool) -> None:
        """After a try: when the next one is due, and whether this drafter is asked at all."""
        track.pause = SOONEST if is_right else min(2 * track.pause, LATEST)
        track.until_try = track.pause
        failed = track.failed[offer.key] = 0 if is_right else track.failed.get(offer.key, 0) + 1
        if failed >= GIVE_UP and self._promise(track.acceptance[offer.key], offer) < HOPE:
            track.given_up.add(offer.key)

    def has_hope(self, offer: Offer) -> bool:
        """Whether an offer's record with other sequences says that it may pay, or says nothing yet."""
        record = self.record.get(offer.key)
        return record is None or record.tried < ENOUGH or self._promise(record, offer) >= HOPE

    def _promise(self, acceptance: Acceptance, offer: Offer) -> float:
        """Speed over plain decoding of a sequence alone, with the best block."""
        plain_s, expected = self.costs.estimate(STEP, 1), acceptance.tokens()
        if plain_s is None:
            return 1.0
        blocks = [rows for rows in BLOCKS if rows - 1 <= offer.most]
        return max(expected[rows - 1] * plain_s / self.costs.estimate(offer.cost_kind, rows) for rows in blocks)

    def _acceptances(self, track: Track, offer: Offer) -> tuple[Acceptance, Acceptance]:
        """Of this sequence, and of all."""
        key = offer.key
        if key not in track.acceptance:
            track.acceptance[key] = Acceptance(self.record.setdefault(key, Acceptance(forget=0.98)))
        return track.acceptance[key], self.record[key]

    def _blocks(
        self, track: Track, offer: Offer, limit: int, others: int, others_tokens: float, plain_s: float
    ) -> Iterator[BlockChoice]:
        """Every block of at most `limit` drafts with what it is expected to gain."""
        if limit < 1:
            return
        expected = self._acceptances(track, offer)[0].tokens()
        for drafts in [rows - 1 for rows in BLOCKS if rows - 1 <= limit]:
            seconds = self.costs.estimate(offer.cost_kind, others + drafts + 1)
            gain = (others_tokens + expected[drafts]) / (others_tokens + 1) * plain_s / seconds
            yield BlockChoice(drafts, offer, gain, expected[drafts])

    def _risk(self, choice: BlockChoice, others: int, plain_s: float) -> float:
        """Plain steps that are lost if no draft is right."""
        return self.costs.estimate(choice.offer.cost_kind, others + choice.drafts + 1) / plain_s - 1

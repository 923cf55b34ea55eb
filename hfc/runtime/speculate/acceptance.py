"""How often drafts are right, position by position, from what was seen lately."""

from __future__ import annotations

from collections.abc import Iterator

POSITIONS = 15  # drafts of the largest block
FIRST_GUESS = 0.7  # of a drafter that nobody has seen yet


class Acceptance:
    """chance[i]: that draft i is right if all before it were.

    A weighted mean of what was seen, the latest most, and of `prior`, which counts as `weight` observations. Without a prior
    a position is taken to be as good as the one before it.
    """

    def __init__(self, prior: Acceptance | None = None, forget: float = 0.9, weight: float = 2.0):
        self._prior, self._keep, self._weight = prior, forget, weight
        self._tried = [0.0] * POSITIONS
        self._right = [0.0] * POSITIONS

    @property
    def tried(self) -> float:
        """Observations of the first draft, older ones counted in part."""
        return self._tried[0]

    def seen(self, drafted: int, right: int) -> None:
        """The first `right` of `drafted` drafts were right; the one after them, if any, was wrong; of later ones nothing is known."""
        for i in range(min(drafted, right + 1)):
            self._tried[i] = self._tried[i] * self._keep + 1
            self._right[i] = self._right[i] * self._keep + (i < right)

    def chances(self) -> Iterator[float]:
        """chance[0], chance[1], …"""
        before = self._prior.chances() if self._prior else None
        chance = FIRST_GUESS
        for tried, right in zip(self._tried, self._right):
            expected = next(before) if before else chance
            chance = (right + self._weight * expected) / (tried + self._weight)
            yield chance

    def tokens(self) -> list[float]:
        """Expected tokens of a verify step with 0, 1, … drafts: the right ones and the target's own after them."""
        total, all_right, expected = 1.0, 1.0, [1.0]
        for chance in self.chances():
            all_right *= chance
            total += all_right
            expected.append(total)
        return expected

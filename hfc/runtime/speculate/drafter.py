"""What guesses the next tokens of a sequence, so that one step can check several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class Draft:
    """A guess that the host knows. grade: how sure the drafter is, in classes of its own; equal grades are accepted about
    equally often."""

    tokens: tuple[int, ...]
    grade: int = 0


class Drafter(Protocol):
    """Guesses on the host for one sequence. A guess costs nothing next to a step."""

    name: str

    def extend(self, tokens: Sequence[int]) -> None:
        """The sequence goes on with these tokens."""
        ...

    def draft(self, most: int) -> Draft | None:
        """At most `most` tokens after the latest, or None where it knows nothing."""
        ...

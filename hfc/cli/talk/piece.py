"""What comes of an answer, and who gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from hfc.base.dataclass import dataclass
from hfc.runtime.sampler import Sampling


@dataclass(frozen=True)
class TextPiece:
    """kind: "thought" | "text" | "end", whose text is a summary of the answer."""

    kind: str
    text: str


class Answerer(Protocol):
    name: str

    def answer(
        self,
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        max_tokens: int | None,
        variables: Mapping[str, Any],
    ) -> Iterator[TextPiece]:
        """Pieces of the answer as they come. Closing the iterator stops it."""
        ...

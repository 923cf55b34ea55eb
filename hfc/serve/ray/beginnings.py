"""A request's body to names of its beginnings: two requests share the first n names if their prompts begin with the same n pieces.

The names are hashes of the texts in the order in which templates write them, whatever the dialect: what a replica's prefix cache has of
one it can use for the other. They are made without a tokenizer, so the door knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

PIECE = 512  # characters
MOST = 4096  # pieces of a request
NAME_BYTES = 16
FIRST = (
    "model",
    "tools",
    "system",
    "instructions",
)  # templates write tools and the system's message ahead of the others
THEN = ("messages", "input", "prompt", "input_prefix")
SILENT = frozenset(("cache_control", "id", "signature"))  # differ from turn to turn, and stand in no prompt


def beginnings(body: Any) -> tuple[bytes, ...]:
    """The shortest first; () for what is no request for text."""
    if not isinstance(body, dict) or not any(body.get(name) for name in THEN):
        return ()
    names, before = [], b""
    for piece in _pieces(body):
        before = blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=NAME_BYTES, key=before).digest()
        names.append(before)
        if len(names) == MOST:
            break
    return tuple(names)


def _pieces(body: dict[str, Any]) -> Iterator[str]:
    """No longer than PIECE; each turn begins with a new one, so that the next request has all of this one's."""
    for name in (*FIRST, *THEN):
        value = body.get(name)
        if not value:
            continue
        for unit in value if isinstance(value, list) and name != "tools" else [value]:
            text = "\x1f".join(_texts(unit))
            for at in range(0, len(text), PIECE):
                yield text[at : at + PIECE]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in SILENT:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)

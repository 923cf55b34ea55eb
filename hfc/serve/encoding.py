"""Values of any size as JSON, part by part: an encoder holds the GIL to its end, and in between others take their turn. So does
who frees a million numbers: an iterator's items stand in a list, and each is made, encoded and freed before the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
MANY = 64  # of a list, which are encoded in one go


def encoded(value: Any) -> bytes:
    """Half surrogate pairs, which a client may have sent, stay what they are."""
    return b"".join([part.encode("utf-8", "surrogatepass") for part in _parts(value)])


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for i, (key, inner) in enumerate(value.items()):
            yield f"{',' if i else ''}{_encode(key)}:"
            yield from _parts(inner)
        yield "}"
    elif isinstance(value, Iterator):
        before = "["
        for inner in value:
            yield before
            yield from _parts(inner)
            before = ","
            del inner
        yield "]" if before == "," else "[]"
    elif isinstance(value, list) and len(value) > MANY:
        for at in range(0, len(value), MANY):
            yield ("," if at else "[") + _encode(value[at : at + MANY])[1:-1]
        yield "]"
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for i, inner in enumerate(value):
            yield "," if i else "["
            yield from _parts(inner)
        yield "]"
    else:
        yield _encode(value)

"""Large JSON bodies to values, piece by piece: a decoder holds the GIL to its end, and in between others take their turn."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

PIECE_BYTES, PIECE_MARKS = 1 << 18, 1 << 12  # of a text that is decoded in one go
SCAN_BYTES = 1 << 18  # of a text that is searched for marks in one go: what numpy makes of it fits into a cache
PAUSE_S = 0.0005
BACKSLASH = ord("\\")
# What a character outside of strings does to the depth; by its code.
DEEPER = np.zeros(256, np.int8)
DEEPER[list(b"[{")], DEEPER[list(b"]}")] = 1, -1
IS_MARK = np.zeros(256, bool)
IS_MARK[list(b"[]{},:")] = True
CLOSES = {ord("["): ord("]"), ord("{"): ord("}")}


class TooManyMarks(ValueError):
    """There are more than may be looked at."""


class Shape:
    """The marks of a JSON text that stand in no string: places and characters [n], and the depth after each, or that of the container
    for those that close one. numpy finds them, and lets other threads run meanwhile."""

    def __init__(self, text: bytes, most: int):
        """TooManyMarks if there are more than `most`."""
        places, marks, depths = [], [], []
        depth, in_string, is_behind_backslash = 0, 0, False
        for at in range(0, len(text), SCAN_BYTES):
            begin, end = at - is_behind_backslash, min(at + SCAN_BYTES, len(text))
            characters = np.frombuffer(text, np.uint8, end - begin, begin)
            escaped = _escaped(characters)
            is_behind_backslash = bool(characters[-1] == BACKSLASH) and (end - begin - 1) not in escaped[-1:]
            is_quote = characters == ord('"')
            is_quote[escaped] = False
            is_inside = np.cumsum(is_quote, dtype=np.uint8)  # wraps around, which does not change whether it is odd
            is_inside += np.uint8(in_string)
            np.bitwise_and(is_inside, 1, out=is_inside)
            in_string = int(is_inside[-1])
            is_mark = IS_MARK[characters]
            is_mark &= is_inside == 0
            found = np.flatnonzero(is_mark)
            if (most := most - len(found)) < 0:
                raise TooManyMarks
            marks.append(characters[found])
            change = DEEPER[marks[-1]]
            places.append(found + begin)
            depths.append(np.cumsum(change, dtype=np.int32) + np.int32(depth))
            depth = int(depths[-1][-1]) if len(found) else depth
            depths[-1] += change < 0
            if end < len(text):
                time.sleep(PAUSE_S)
        self.places = np.concatenate([np.empty(0, np.intp), *places])
        self.marks = np.concatenate([np.empty(0, np.uint8), *marks])
        self.depths = np.concatenate([np.empty(0, np.int32), *depths])

    @property
    def deepest(self) -> int:
        return int(self.depths.max(initial=0))

    @property
    def containers(self) -> int:
        """Objects and lists."""
        return int(np.count_nonzero(DEEPER[self.marks] > 0))

    @property
    def values(self) -> int:
        """How many stand after a comma or a colon."""
        return int(np.count_nonzero((self.marks == ord(",")) | (self.marks == ord(":"))))

    @property
    def fields(self) -> int:
        """Of the outermost object."""
        return int(np.count_nonzero((self.marks == ord(":")) & (self.depths == 1)))


def _escaped(characters: np.ndarray) -> np.ndarray:
    """Places after a backslash that is not escaped itself."""
    backslashes = np.flatnonzero(characters[:-1] == BACKSLASH)
    if not len(backslashes):
        return backslashes
    begins = np.empty(len(backslashes), bool)  # a run of them
    begins[0], begins[1:] = True, np.diff(backslashes) != 1
    first = np.maximum.accumulate(np.where(begins, np.arange(len(backslashes)), 0))
    return backslashes[(np.arange(len(backslashes)) - first) % 2 == 0] + 1


def decoded(text: bytes, shape: Shape) -> Any:
    """The value of a JSON text in UTF-8, as json.loads has it. ValueError if it is none."""
    return _Decoder(text, shape).value(0, len(text), 0, len(shape.places), 1)


class _Decoder:
    """first, end: of a text.  low, high: of the marks in it.  depth: of a container in it."""

    def __init__(self, text: bytes, shape: Shape):
        self._text, self._view, self._shape = text, memoryview(text), shape

    def value(self, first: int, end: int, low: int, high: int, depth: int) -> Any:
        shape = self._shape
        if (end - first <= PIECE_BYTES and high - low <= PIECE_MARKS) or high - low < 3:
            return self._decode(b"", first, end, b"")
        opens, closes = int(shape.places[low]), int(shape.places[high - 1])
        kind = self._text[opens]
        is_whole = CLOSES.get(kind) == self._text[closes] and shape.depths[high - 1] == depth
        if not is_whole or self._view[first:opens].tobytes().strip() or self._view[closes + 1 : end].tobytes().strip():
            raise ValueError("not JSON")
        inside = slice(low + 1, high - 1)
        commas = low + 1 + np.flatnonzero((shape.marks[inside] == ord(",")) & (shape.depths[inside] == depth))
        ends = np.append(commas, high - 1)  # the mark that ends each child
        if kind == ord("["):
            return [one for part in self._groups(low, ends, depth, b"[", b"]") for one in part]
        out: dict[str, Any] = {}
        for part in self._groups(low, ends, depth, b"{", b"}"):
            out.update(part)
        return out

    def _groups(self, low: int, ends: np.ndarray, depth: int, opening: bytes, closing: bytes) -> Iterator[Any]:
        """Lists or dicts of neighbouring children. low: the mark before the first of them."""
        places, done = self._shape.places, 0
        while done < len(ends):
            first = int(places[low]) + 1
            by_marks = int(np.searchsorted(ends, low + PIECE_MARKS))
            by_bytes = int(np.searchsorted(places[ends], first + PIECE_BYTES))
            until = max(done + 1, min(by_marks, by_bytes))
            high = int(ends[until - 1])
            if until == done + 1:
                yield self._child(first, int(places[high]), low + 1, high, depth, opening == b"{")
            else:
                part = self._decode(opening, first, int(places[high]), closing)
                if not part or (opening == b"[" and len(part) != until - done):
                    raise ValueError("not JSON")
                yield part
            low, done = high, until
            time.sleep(PAUSE_S)

    def _child(self, first: int, end: int, low: int, high: int, depth: int, is_field: bool) -> Any:
        """One, maybe large, as a list or a dict of it alone."""
        if not is_field:
            return [self.value(first, end, low, high, depth + 1)]
        if high <= low or self._shape.marks[low] != ord(":"):
            raise ValueError("not JSON")
        colon = int(self._shape.places[low])
        key = self._decode(b"", first, colon, b"")
        if not isinstance(key, str):
            raise ValueError("not JSON")
        return {key: self.value(colon + 1, end, low + 1, high, depth + 1)}

    def _decode(self, before: bytes, first: int, end: int, after: bytes) -> Any:
        part = self._view[first:end]
        part = b"".join((before, part, after)) if before else part
        try:
            return msgspec.json.decode(part)
        except ValueError:  # maybe only of numbers beyond f64, NaN or half a surrogate pair
            return json.loads(str(part, "utf-8", "surrogatepass"))

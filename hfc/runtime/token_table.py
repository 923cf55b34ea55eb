"""What every token of a vocabulary stands for, in one piece: 248,320 Python objects of a few bytes each take 25 MB, this 3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


class TokenTable:
    """The texts of ids from 0 on."""

    def __init__(self, texts: Iterable[bytes]):
        data, ends = bytearray(), [0]
        for text in texts:
            data += text
            ends.append(len(data))
        self.data = bytes(data)
        self._ends = np.array(ends, np.uint32)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[bytes]:
        return texts_of(self.data, self.lengths())

    def lengths(self) -> list[int]:
        return np.diff(self._ends).tolist()


def texts_of(data: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """A table's texts again, from `data` and `lengths`."""
    start = 0
    for length in lengths:
        yield data[start : start + length]
        start += length

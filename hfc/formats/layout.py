"""Where the bits of a block live: byte fields, and codes cut out of them. Declared once, spelled for numpy and for C.

Positions are C integer expressions in the element index `i` (0 <= i < block): "i / 64 * 32 + i % 32".
"""

from __future__ import annotations

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.formats.dtype import SCALARS


@dataclass(frozen=True)
class Field:
    """`count` scalars in a row. Fields follow each other without padding, so any of them may be unaligned."""

    name: str
    dtype: str
    count: int = 1

    @property
    def nbytes(self) -> int:
        return self.count * SCALARS[self.dtype].itemsize


@dataclass(frozen=True)
class Plane:
    """Bits of a code: ((field[byte] >> shift) & (2**bits - 1)) << left.

    A byte of an i8 field is taken plus 128 (top bit flipped): codes are always unsigned, their `zero` is -128.
    """

    field: str
    bits: int
    byte: str
    shift: str = "0"
    left: int = 0


@dataclass(frozen=True)
class Code:
    """An unsigned integer per element: the OR of its planes. Its number is code + zero.

    power: its number is 2 to the power of (code - 127) instead, an exponent of E8M0; code 0 counts as 0, not 2^-127."""

    planes: tuple[Plane, ...]
    zero: int = 0
    power: bool = False


@dataclass(frozen=True)
class Factor:
    """A scale or a minimum of a group, as a block holds it: a stored number, times the number of a small code if there is one.

    fields: the number's, or several, one for each equal share of the block's `elements`.  code: the small code.  negated: the number
    is taken off."""

    fields: tuple[str, ...]
    code: str = ""
    negated: bool = False
    elements: int = 0

    def __post_init__(self) -> None:
        assert len(self.fields) == 1 or (len(self.fields) == 2 and self.elements and not self.code and not self.negated)

    @property
    def c(self) -> str:
        """The expression over fields, codes and i that C and Python share."""
        if len(self.fields) == 2:  # a product with 1 and a sum with 0 are exact
            low, high = self.fields
            return f"{low} * (i < {self.elements // 2}) + {high} * (i >= {self.elements // 2})"
        product = f"{self.fields[0]} * {self.code}" if self.code else self.fields[0]
        return f"-({product})" if self.negated else product


def stored(field: str, times: str = "", negated: bool = False) -> Factor:
    """The number `field`, times the small code `times`."""
    return Factor((field,), times, negated)


def code(field: str, bits: int, byte: str, shift: str = "0", zero: int = 0) -> Code:
    """A code that lies in one plane."""
    return Code((Plane(field, bits, byte, shift),), zero)


@dataclass(frozen=True)
class Run:
    """Elements `target` of one plane: from the bytes of slice `source`, one each or one for all, by `shift`."""

    target: slice
    source: slice
    shift: np.ndarray  # uint8 [1] or [stop - start]


def index_values(expression: str, indices: np.ndarray) -> np.ndarray:
    """A position expression at each element index, int [n]. The text comes from our own declarations only."""
    value = eval(expression.replace("/", "//"), {"__builtins__": {}}, {"i": indices})
    return np.broadcast_to(np.asarray(value), indices.shape)


def plane_runs(plane: Plane, offset: int, indices: np.ndarray) -> tuple[Run, ...]:
    """Cut a plane into runs that numpy can do with one shift each; `offset` is where its field starts in the block.

    A run has consecutive bytes with one shift (nibbles), or one byte with any shifts (bit masks). Where few elements fill
    whole bytes (bit streams), every eighth element or so makes a run: its bytes are equally far apart, its shift is one.
    """
    byte = index_values(plane.byte, indices) + offset
    shift = index_values(plane.shift, indices).astype(np.uint8)
    runs = _consecutive(byte, shift)
    strided = next((found for period in (2, 4, 8) if (found := _strided(byte, shift, period))), runs)
    return min(runs, strided, key=len)


def _strided(byte: np.ndarray, shift: np.ndarray, period: int) -> tuple[Run, ...]:
    """A run for each remainder of the element index by `period`; none where one would not be regular."""
    runs = []
    for first in range(period):
        places = byte[first::period]
        steps = np.diff(places)
        if len(steps) == 0 or steps[0] < 1 or (steps != steps[0]).any() or (shift[first::period] != shift[first]).any():
            return ()
        source = slice(int(places[0]), int(places[-1]) + 1, int(steps[0]))
        runs.append(Run(slice(first, len(byte), period), source, shift[first : first + 1]))
    return tuple(runs)


def _consecutive(byte: np.ndarray, shift: np.ndarray) -> tuple[Run, ...]:
    runs, start = [], 0
    for stop in range(1, len(byte) + 1):
        if stop < len(byte) and _same_run(byte, shift, start, stop):
            continue
        single = stop - start > 1 and byte[start + 1] == byte[start]
        first, last = int(byte[start]), int(byte[start] if single else byte[stop - 1])
        runs.append(
            Run(slice(start, stop), slice(first, last + 1), shift[start:stop] if single else shift[start : start + 1])
        )
        start = stop
    return tuple(runs)


def _same_run(byte: np.ndarray, shift: np.ndarray, start: int, at: int) -> bool:
    if byte[start + 1] == byte[start]:
        return bool(byte[at] == byte[start])
    return bool(byte[at] == byte[at - 1] + 1 and shift[at] == shift[start])

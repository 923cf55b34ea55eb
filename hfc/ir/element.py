"""Prints one element of a value as a scalar C expression, valid HIP and C alike: walks from it to what it is made of.

The walk is one for all who take it; what stands at its ends is theirs: the back end's `Printer` names memory, the passes' walk only
asks whether a kernel could compute it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from hfc.ir.graph import Op, Value
from hfc.ir.index import Index, Shape

Leaf = Callable[[Index], str]


class Elements(ABC):
    """producers: of the values that are computed on the way.  leaves: values that the kernel has, as a function of their index."""

    def __init__(self, ops: Iterable[Op]):
        self.producers: dict[Value, Op] = {v: op for op in ops for v in op.outputs}
        self.leaves: dict[Value, Leaf] = {}

    def element(self, value: Value, index: Index, row: str = "row") -> str:
        """The C expression of one element. index: one expression for each axis after the rows."""
        if value in self.leaves:
            return self.leaves[value](index)
        op = self.producers.get(value)
        if op is None:
            return self.outside(value, index, row)
        return self.computed(op, value, index, row)

    def operand(self, operand: Value, result: Value, index: Index, row: str) -> str:
        """An operand of a broadcasting op: trailing axes align, an axis of size 1 is read at 0."""
        axes = row_shape(operand)
        trailing = ("0",) * (len(axes) - len(index)) + index[max(0, len(index) - len(axes)) :]
        return self.element(operand, tuple("0" if n == 1 else e for n, e in zip(axes, trailing)), row)

    def is_computed(self, value: Value) -> bool:
        """It is not in memory: an expression or a leaf stands for it."""
        return value in self.leaves or value in self.producers

    @abstractmethod
    def computed(self, op: Op, value: Value, index: Index, row: str) -> str:
        """One element of a result of an op, by its definition."""

    @abstractmethod
    def outside(self, value: Value, index: Index, row: str) -> str:
        """One element of a value that no op of these makes."""

    @abstractmethod
    def load(self, value: Value, index: Index, row: str, shape: Shape | None = None) -> str:
        """Read a value in memory, seen in `shape`: row-major, rows outermost; weights and tables have no rows."""

    @abstractmethod
    def pointer(self, value: Value, plane: str = "") -> str:
        """The name of the pointer to a value's memory."""

    @abstractmethod
    def step_word(self, column: str, row: str) -> str:
        """What the step buffer says of a row, see COLUMNS of hfc/step.py."""

    @abstractmethod
    def reduced(self, op: Op, index: Index, row: str, reduce: str, element: str, finish: str) -> str:
        """The variable of a reduction ("sum" | "max") over the vector of op's first operand that holds `index`.

        element: C expression of the element {x}.  finish: of the reduced value r."""

    @property
    @abstractmethod
    def journal_rows(self) -> int:
        """Rows of a slot that recurrent states keep uncommitted."""


PrintElement = Callable[[Elements, Op, Value, Index, str], str]


def row_shape(value: Value) -> tuple[int, ...]:
    """The axes after the rows; all axes of a weight or table."""
    return value.type.sizes(1 if is_row_value(value) else 0)


def is_row_value(value: Value) -> bool:
    return value.type.shape[:1] in (("T",), ("R",))


def row_size(value: Value) -> int:
    """Elements of one row."""
    return math.prod(value.type.sizes(1))

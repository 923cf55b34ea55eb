"""Which reductions a kernel could compute where a fusion would put them: the walk of a printer, without memory.

A kernel makes a vector per row and group: element j of group g. A reduction inside of it runs over j, so its own vector must be
whole for each group; a norm over heads, read flat, is not: its vectors end inside of the reader's. Nor can a kernel whose root has
one head reduce over several of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hfc.ir.element import Elements, row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import Index, Shape
from hfc.ir.opdef import OPS


class _Walk(Elements):
    """by_head: a root of whose result a kernel has head g alone.
    stray: the reductions met whose vector is not one of the kernel's, or lies in another row or in other heads."""

    def __init__(self, ops: Iterable[Op], by_head: Op | None):
        super().__init__(ops)
        self.by_head, self.stray = by_head, set[Op]()
        self._reads_others = False

    def computed(self, op: Op, value: Value, index: Index, row: str) -> str:
        element = OPS[op.kind].element
        self._reads_others |= op is self.by_head and index[0] != "g"
        return element(self, op, value, index, row) if element else "root"

    def outside(self, value: Value, index: Index, row: str) -> str:
        return "x"

    def load(self, value: Value, index: Index, row: str, shape: Shape | None = None) -> str:
        return "x"

    def pointer(self, value: Value, plane: str = "") -> str:
        return "x"

    def step_word(self, column: str, row: str) -> str:
        return f"{column}[{row}]"

    def reduced(self, op: Op, index: Index, row: str, reduce: str, element: str, finish: str) -> str:
        if any(re.search(r"\bj\b", axis) for axis in index[:-1]) or "-" in row:
            self.stray.add(op)
        before, self._reads_others = self._reads_others, False
        self.element(op.inputs[0], (*index[:-1], "j"), row)
        if self._reads_others:
            self.stray.add(op)
        self._reads_others |= before
        return "stat"

    @property
    def journal_rows(self) -> int:
        return 0


def stray_reductions(ops: Iterable[Op], made: Iterable[tuple[Value, Index]], by_head: Op | None = None) -> set[Op]:
    """made: the values that the kernel of `ops` makes, each at the index of one element, in g and j.  by_head: see _Walk."""
    ops = list(ops)
    if not any(OPS[op.kind].reduces for op in ops if not op.body):
        return set()
    walk = _Walk((op for op in ops if not op.body), by_head)
    for value, index in made:
        walk.element(value, index)
    return walk.stray


def vector_index(value: Value) -> Index:
    """j over the last axis, something else over each before it."""
    axes = len(row_shape(value))
    return (*(f"g{axis}" for axis in range(axes - 1)), "j") if axes else ()


def grown(grow: Callable[[set[Op]], set[Op]], stray: Callable[[set[Op]], set[Op]]) -> set[Op]:
    """The set that `grow` makes without the ops it is given, once none in it is `stray`."""
    banned: set[Op] = set()
    while True:
        group = grow(banned)
        found = stray(group) - banned
        if not found:
            return group
        banned |= found

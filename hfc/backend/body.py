"""Prints the elements of a region's values as scalar C expressions over the memory that a kernel gets.

A printer walks from the value that is wanted back to the region's inputs and to the root's result (a `leaf`).
Reductions on the way become `Stat`s, which the skeleton computes first.
"""

from __future__ import annotations

import math
import re

from hfc.backend.spec import Arg, Stat
from hfc.formats import block_format
from hfc.ir.element import Elements, is_row_value, row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import Index, Shape, flat, group, reindex
from hfc.ir.opdef import OPS
from hfc.passes.settings import Settings
from hfc.pointer import PointerKind
from hfc.step import column_at

# what a source op's value is for a kernel, to which another rank's buffer is one like its own
IN_MEMORY: dict[str, PointerKind] = {"weight": "weight", "const": "const", "state": "state", "peer": "buffer"}


class Printer(Elements):
    """One region's expressions and the pointers they need, in order of first use.

    storage: the value whose memory a value lies in (a state's new value lies in the state).  reads: what was printed that reads a float.
    """

    def __init__(self, region: Op, settings: Settings, sources: dict[Value, Op]):
        assert region.body, f"{region} is no region"
        super().__init__(region.inner)
        self.region, self.settings, self.sources = region, settings, sources
        self.args: list[Arg] = []
        self.stats: list[Stat] = []
        self._stat_of: dict[tuple, str] = {}
        self.reads: list[str] = []

    @property
    def journal_rows(self) -> int:
        return self.settings.journal_rows

    def arg(self, value: Value, written: bool = False, plane: str = "") -> Arg:
        """The pointer to a value's memory."""
        for found in self.args:
            if found.value is value and found.plane == plane and found.kind != "meeting":
                return found
        source = self.sources.get(value)
        kind = IN_MEMORY[source.kind] if source else "buffer"
        letter = {"weight": "w", "buffer": "y" if written else "x"}.get(kind, kind[0])
        name = f"{letter}{len(self.args)}" + (f"_{plane}" if plane else "")
        self.args.append(Arg(name, kind, _ctype(value), value, plane, written))
        return self.args[-1]

    def meeting(self, value: Value) -> Arg:
        """The pointer to where the ranks meet before they read each other's `value`."""
        self.args.append(Arg(f"meeting{len(self.args)}", "meeting", "uint64_t", value, written=True))
        return self.args[-1]

    def pointer(self, value: Value, plane: str = "") -> str:
        return self.arg(value, plane=plane).name

    def stores(self, index: Index, shape: Shape) -> str:
        """Statements that write element `index`, of `shape`, of each of the region's outputs that have rows: new states lie in place."""
        made = []
        for value in self.region.outputs:
            if value.type.shape[:1] == ("T",):
                expression = self.element(value, reindex(index, shape, row_shape(value)))
                place = f"(size_t)row * {math.prod(shape)} + {flat(index, shape)}"
                made.append(f"{self.arg(value, written=True).name}[{place}] = {expression};")
        return " ".join(made)

    def fresh_stats(self) -> None:
        """Forget the reductions: a new task begins."""
        self.stats, self._stat_of = [], {}

    def step_word(self, column: str, row: str) -> str:
        return f"step[{column_at(column, self.settings.max_rows)} + {row}]"

    def computed(self, op: Op, value: Value, index: Index, row: str) -> str:
        element = OPS[op.kind].element
        assert element, f"{op}: a kernel that needs an element of it has another root"
        return element(self, op, value, index, row)

    def outside(self, value: Value, index: Index, row: str) -> str:
        source = self.sources.get(value)
        return self.step_word("token", row) if source and source.is_input else self.load(value, index, row)

    def load(self, value: Value, index: Index, row: str, shape: Shape | None = None) -> str:
        """Read a region input, seen in `shape`: row-major, rows outermost; weights and tables have no rows."""
        pointer, shape = self.arg(value), shape or row_shape(value)
        place = flat(index, shape)
        if is_row_value(value):
            stride = math.prod(shape)
            lead = f"(size_t){group(row)} * {stride}" if stride > 1 else group(row)
            place = lead if place == "0" else f"{lead} + {place}"
        if pointer.is_weight and value.type.dtype != "f32":
            made = _weight_element(pointer, value, index)
        else:
            made = f"{pointer.name}[{place}]"
        if value.type.dtype != "i32":
            self.reads.append(made)
        return made

    def reduced(self, op: Op, index: Index, row: str, reduce: str, element: str, finish: str) -> str:
        key = (op.inputs[0], index[:-1], row, element)
        assert not any(re.search(r"\bj\b", axis) for axis in index[:-1]), f"{op}: its vectors end inside of a kernel's"
        if key not in self._stat_of:
            x = self.element(op.inputs[0], (*index[:-1], "j"), row)
            name = f"stat{len(self.stats)}"
            self.stats.append(Stat(name, op.inputs[0].type.size(-1), reduce, element.format(x=x), finish))
            self._stat_of[key] = name
        return self._stat_of[key]


def _ctype(value: Value) -> str:
    return {"i32": "int32_t", "f32": "float"}.get(value.type.dtype, "uint8_t")


def _weight_element(pointer: Arg, value: Value, index: Index) -> str:
    form = block_format(value.type.dtype)
    rows, column = index[:-1], index[-1]
    start = f"{pointer.name} + (size_t)({flat(rows, row_shape(value)[:-1])}) * {form.row_bytes(value.type.size(-1))}"
    return f"hfc_{form.name}_at({start} + ({column}) / {form.block} * {form.block_bytes}, ({column}) % {form.block})"

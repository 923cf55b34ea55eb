"""Prints the elements of a region's values as scalar C expressions, valid HIP and C alike.

A printer walks from the value that is wanted back to the region's inputs and to the root's result (a `leaf`).
Reductions on the way become `Stat`s, which the skeleton computes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hfc.backend.index import Index, Shape, flat, group, reindex
from hfc.backend.spec import Arg, Stat
from hfc.formats import weight_format
from hfc.ir.graph import Op, Value
from hfc.ir.opdef import OPS
from hfc.passes.settings import Settings

Leaf = Callable[[Index], str]


class Printer:
    """One region's expressions and the pointers they need, in order of first use.

    storage: the value whose memory a value lies in (a state's new value lies in the state).
    leaves: values that the skeleton computes, as a function of their index.
    """

    def __init__(self, region: Op, settings: Settings, sources: dict[Value, Op]):
        self.region, self.settings, self.sources = region, settings, sources
        self.producers = {v: op for op in region.body.ops for v in op.outputs}
        self.leaves: dict[Value, Leaf] = {}
        self.args: list[Arg] = []
        self.stats: list[Stat] = []
        self._stat_of: dict[tuple, str] = {}

    def arg(self, value: Value, written: bool = False, plane: str = "") -> Arg:
        """The pointer to a value's memory."""
        for found in self.args:
            if found.value is value and found.plane == plane:
                return found
        source = self.sources.get(value)
        kind = source.kind if source else "buffer"
        letter = {"weight": "w", "buffer": "y" if written else "x"}.get(kind, kind[0])
        name = f"{letter}{len(self.args)}" + (f"_{plane}" if plane else "")
        self.args.append(Arg(name, kind, self._ctype(value, kind), value, plane, written))
        return self.args[-1]

    def _ctype(self, value: Value, kind: str) -> str:
        if value.type.dtype == "i32":
            return "int32_t"
        return "float" if value.type.dtype == "f32" else "uint8_t"

    def fresh_stats(self) -> None:
        """Forget the reductions: a new task begins."""
        self.stats, self._stat_of = [], {}

    def element(self, value: Value, index: Index, row: str = "row") -> str:
        """The C expression of one element. index: one expression for each axis after the rows."""
        if value in self.leaves:
            return self.leaves[value](index)
        op = self.producers.get(value)
        if op is None:
            source = self.sources.get(value)
            return f"step[4 + {row}]" if source and source.kind == "input" else self.load(value, index, row)
        if OPS[op.kind].elementwise:
            operands = [self._operand(v, value, index, row) for v in op.inputs]
            return OPS[op.kind].c.format(*operands, **{k: _literal(v) for k, v in op.attrs.items()})
        return getattr(self, f"_{op.kind}")(op, value, index, row)

    def _operand(self, operand: Value, result: Value, index: Index, row: str) -> str:
        """An operand of a broadcasting op: trailing axes align, an axis of size 1 is read at 0."""
        axes = row_shape(operand)
        trailing = index[len(index) - len(axes) :] if axes else ()
        return self.element(operand, tuple("0" if n == 1 else e for n, e in zip(axes, trailing)), row)

    def load(self, value: Value, index: Index, row: str, shape: Shape | None = None) -> str:
        """Read a region input, seen in `shape`: row-major, rows outermost; weights and tables have no rows."""
        pointer, shape = self.arg(value), shape or row_shape(value)
        place = flat(index, shape)
        if is_row_value(value):
            stride = math.prod(shape)
            lead = f"(size_t){group(row)} * {stride}" if stride > 1 else group(row)
            place = lead if place == "0" else f"{lead} + {place}"
        if pointer.kind == "weight" and value.type.dtype != "f32":
            return self._weight_element(pointer, value, index)
        return f"{pointer.name}[{place}]"

    def _weight_element(self, pointer: Arg, value: Value, index: Index) -> str:
        form = weight_format(value.type.dtype)
        rows, column = index[:-1], index[-1]
        start = (
            f"{pointer.name} + (size_t)({flat(rows, row_shape(value)[:-1])}) * {form.row_bytes(value.type.shape[-1])}"
        )
        return (
            f"hfc_{form.name}_at({start} + ({column}) / {form.block} * {form.block_bytes}, ({column}) % {form.block})"
        )

    # one method for each op that is not elementwise

    def _reshape(self, op: Op, value: Value, index: Index, row: str) -> str:
        source = op.inputs[0]
        if source in self.leaves or source in self.producers:
            return self.element(source, reindex(index, row_shape(value), row_shape(source)), row)
        return self.load(source, index, row, row_shape(value))  # memory is flat: no index arithmetic

    def _split(self, op: Op, value: Value, index: Index, row: str) -> str:
        start = sum(op.attrs["sizes"][: op.outputs.index(value)])
        last = f"{index[-1]} + {start}" if start else index[-1]
        return self.element(op.inputs[0], (*index[:-1], last), row)

    def _pick_rows(self, op: Op, value: Value, index: Index, row: str) -> str:
        return self.element(op.inputs[0], index, f"step[{4 + 3 * self.settings.max_rows} + {row}]")

    def _gather(self, op: Op, value: Value, index: Index, row: str) -> str:
        table, tokens = op.inputs
        axes = len(row_shape(tokens))
        return self.load(table, (self.element(tokens, index[:axes], row), *index[axes:]), row)

    def _concat(self, op: Op, value: Value, index: Index, row: str) -> str:
        x, y = op.inputs
        *lead, j = index
        size = x.type.shape[-1]
        other = self.element(y, (*lead, f"({group(j)} - {size})"), row)
        return f"({group(j)} < {size} ? {self.element(x, index, row)} : {other})"

    def _previous(self, op: Op, value: Value, index: Index, row: str) -> str:
        before = self.element(op.inputs[0], index, f"({row} - 1)")
        first = self.element(op.inputs[1], index, row) if len(op.inputs) > 1 else "0.0f"
        return f"(hfc_follows(step, {row}, 1) ? {before} : {first})"

    def _keep_first(self, op: Op, value: Value, index: Index, row: str) -> str:
        x, first = (self.element(v, index, row) for v in op.inputs)
        return f"(hfc_follows(step, {row}, 1) ? {x} : {first})"

    def _recall(self, op: Op, value: Value, index: Index, row: str) -> str:
        state, size, rows = op.inputs[0], op.inputs[0].type.shape[1], self.settings.journal_rows
        kept = self.arg(state).name
        waiting = self.arg(state, plane="journal").name if rows else kept
        return f"hfc_recall({kept}, {waiting}, step, {row}, {size}, {rows}, {index[0]})"

    def _dynamic_conv(self, op: Op, value: Value, index: Index, row: str) -> str:
        x, base, dynamic = op.inputs
        (j,), size = index, x.type.shape[1] // dynamic.type.shape[2]
        terms = []
        for tap in range(base.type.shape[0]):
            weight = f"({self.load(base, (str(tap), j), row)} + {self.element(dynamic, (str(tap), f'({group(j)} / {size})'), row)})"
            term = f"{weight} * {self.element(x, index, f'({row} - {tap})' if tap else row)}"
            terms.append(f"(hfc_follows(step, {row}, {tap}) ? {term} : 0.0f)" if tap else term)
        return f"({' + '.join(terms)})"

    def _rope(self, op: Op, value: Value, index: Index, row: str) -> str:
        x, table = op.inputs
        rotary = table.type.shape[1]
        half, j = rotary // 2, group(index[-1])
        position = f"step[{4 + self.settings.max_rows} + {row}]"

        def at(offset: int) -> str:
            return self.element(
                x, (*index[:-1], f"{j} + {offset}" if offset > 0 else f"{j} - {-offset}" if offset else j), row
            )

        def turn(part: int, offset: int) -> str:
            place = f"(size_t){position} * {rotary} + {j}"
            return f"{self.arg(table).name}[{place} + {part * half - offset}]"

        low = f"{at(0)} * {turn(0, 0)} - {at(half)} * {turn(1, 0)}"
        high = f"{at(0)} * {turn(0, half)} + {at(-half)} * {turn(1, half)}"
        rest = f" : {at(0)}" if rotary < value.type.shape[-1] else ""
        guard = f"{j} < {rotary} ? {high}{rest}" if rest else high
        return f"({j} < {half} ? {low} : {guard})"

    def _weighted_sum(self, op: Op, value: Value, index: Index, row: str) -> str:
        x, weights = op.inputs
        terms = [
            f"{self.element(weights, (str(k),), row)} * {self.element(x, (str(k), *index), row)}"
            for k in range(weights.type.shape[1])
        ]
        return f"({' + '.join(terms)})"

    def _rms_norm(self, op: Op, value: Value, index: Index, row: str) -> str:
        size = value.type.shape[-1]
        stat = self._reduced(
            op, index, row, "sum", "{x} * {x}", f"hfc_rsqrt(r / {_literal(size)} + {_literal(op.attrs['eps'])})"
        )
        return f"({self.element(op.inputs[0], index, row)} * {stat} * {self._operand(op.inputs[1], value, index, row)})"

    def _l2_norm(self, op: Op, value: Value, index: Index, row: str) -> str:
        stat = self._reduced(op, index, row, "sum", "{x} * {x}", f"hfc_rsqrt(r + {_literal(op.attrs['eps'])})")
        return f"({self.element(op.inputs[0], index, row)} * {stat})"

    def _softmax(self, op: Op, value: Value, index: Index, row: str) -> str:
        top = self._reduced(op, index, row, "max", "{x}", "r")
        total = self._reduced(op, index, row, "sum", f"hfc_exp({{x}} - {top})", "1.0f / r")
        return f"(hfc_exp({self.element(op.inputs[0], index, row)} - {top}) * {total})"

    def _reduced(self, op: Op, index: Index, row: str, reduce: str, element: str, finish: str) -> str:
        """The variable of a reduction over the vector that holds `index`."""
        key = (op.inputs[0], index[:-1], row, element)
        if key not in self._stat_of:
            x = self.element(op.inputs[0], (*index[:-1], "j"), row)
            name = f"stat{len(self.stats)}"
            self.stats.append(Stat(name, op.inputs[0].type.shape[-1], reduce, element.format(x=x), finish))
            self._stat_of[key] = name
        return self._stat_of[key]


def row_shape(value: Value) -> tuple[int, ...]:
    """The axes after the rows; all axes of a weight or table."""
    return tuple(value.type.shape[1:] if is_row_value(value) else value.type.shape)


def is_row_value(value: Value) -> bool:
    return value.type.shape[:1] in (("T",), ("R",))


def _literal(number) -> str:
    """A C float literal that reads back as the same f32."""
    return f"{float(number)!r}f"

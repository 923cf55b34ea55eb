"""A model's graph to the part of it that one rank of several computes: tensor parallelism.

    %q = linear(%x, %wq); ... %o = linear(%a, %wo); %y = add(%x, %o)
    rank 0 of 2:  %q = linear(%x, %wq.rows0) of half the heads; %o = linear(%a, %wo.columns0), a term; %o_rank1 = peer() {rank=1};
                  %o_all = all_reduce(%o, %o_rank1); %y = add(%x, %o_all)

Every rank has the same ops in the same order, on weights, states and values of its own sizes; what is not cut, all compute.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.formats.recipe import apply
from hfc.ir.element import is_row_value, row_shape
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import OPS
from hfc.ir.roles import is_view, of_experts
from hfc.passes.settings import RankCut, Settings
from hfc.passes.share_layouts import TERM, Shares, Split
from hfc.passes.share_rules import RULES
from hfc.passes.shares import Share, local_size, pieces, size_of


def split_ranks(graph: Graph, settings: Settings | None = None) -> Graph:
    """Nothing for a model on one device."""
    if settings is None or settings.rank is None:
        return graph
    return _RankGraph(graph, settings.rank, Shares(graph, settings.rank.count, RULES).find()).graph()


@dataclass(eq=False)
class _RankGraph:
    """What one rank computes. ops: so far. own: its part of a value.  whole: the sum or the pieces of all ranks, once they are made."""

    full: Graph
    rank: RankCut
    shares: Shares
    ops: list[Op] = field(default_factory=list)
    own: dict[Value, Value] = field(default_factory=dict)
    whole: dict[Value, Value] = field(default_factory=dict)
    sources: dict[Any, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers = self.full.producers()

    def graph(self) -> Graph:
        for op in self.full.ops:
            if not op.is_source and not _is_static(op):
                self.ops.append(self._op(op))
        outputs = [self._all_of(value) for value in self.full.outputs]
        updates = {self._source(state, None): self.own.get(new, new) for state, new in self.full.updates.items()}
        return Graph(self.full.name, self.full.inputs, self.ops, outputs, updates)

    def _op(self, op: Op) -> Op:
        """The op on this rank's operands; its results have the sizes that its rule gives."""
        inputs = tuple(self._operand(op, value, way) for value, way in zip(op.inputs, OPS[op.kind].reads))
        attrs = self._attrs(op)
        types = OPS[op.kind].infer(tuple(v.type for v in inputs), attrs)
        for value, type in zip(op.outputs, types):
            if type != value.type:
                self.own[value] = Value(value.name, type)
        outputs = tuple(self.own.get(v, v) for v in op.outputs)
        return Op(op.kind, inputs, outputs, attrs, span=op.span)

    def _attrs(self, op: Op) -> dict[str, Any]:
        """Sizes among them become the rank's."""
        found = self.shares.layouts.get(op.outputs[0])
        if op.kind == "reshape" and isinstance(found, Split):
            shape = list(op.attrs["shape"])
            shape[found.axis] = self._size(found.share)
            return {**op.attrs, "shape": tuple(shape)}
        if op.kind == "split":
            last = len(row_shape(op.inputs[0])) - 1
            sizes = [
                self._size(layout.share) if isinstance(layout, Split) and layout.axis == last else size
                for layout, size in zip(map(self.shares.layouts.get, op.outputs), op.attrs["sizes"])
            ]
            return {**op.attrs, "sizes": tuple(sizes)}
        return op.attrs

    def _operand(self, op: Op, value: Value, way: str) -> Value:
        if is_row_value(value):
            layout = self.shares.layouts.get(value)
            keeps = isinstance(layout, Split) or (layout is TERM and self.shares.layouts.get(op.outputs[0]) is TERM)
            return self.own.get(value, value) if keeps else self._all_of(value)
        if way in ("state", "cache"):
            return self._source(value, None) if value in self._states() else self.own.get(value, value)
        return self._source(value, self._cut_of(op, value, way))

    def _states(self) -> set[Value]:
        return {op.output for op in self.full.ops if op.is_state}

    def _cut_of(self, op: Op, value: Value, way: str) -> tuple[int, Share] | None:
        """The axis of a weight that is cut for this op, and how."""
        made, read = self.shares.layouts.get(op.outputs[0]), self.shares.layouts.get(op.inputs[0])
        if way in ("matrix", "experts"):
            first = 1 if of_experts(op) else 0
            if op in self.shares.by_rows:
                return first + 1, self.shares.by_rows[op].share
            product = self.shares.products.get(op)
            return (first, product.share) if product and product.share else None
        layout = made if isinstance(made, Split) else read
        if not isinstance(layout, Split) or way == "table":
            return None
        axes = len(value.type.shape)
        axis = layout.axis if way == "taps" or op.kind == "attend" else layout.axis - len(row_shape(op.output)) + axes
        is_cut = 0 <= axis < axes and value.type.shape[axis] == size_of(layout.share)
        return (axis, layout.share) if is_cut else None

    def _size(self, share: Share) -> int:
        return local_size(share, self.rank.number, self.rank.count)

    def _all_of(self, value: Value) -> Value:
        """What all ranks have: the sum of their terms, or their pieces side by side."""
        layout = self.shares.layouts.get(value)
        if layout is None:
            return value
        if value not in self.whole and layout is TERM and is_view(self.makers[value]):
            self._view_of_all(self.makers[value])
        if value not in self.whole:
            mine = self.own.get(value, value)
            parts = [mine if n == self.rank.number else self._peer(mine, n) for n in range(self.rank.count)]
            made = Value(f"{value.name}_all", value.type)
            kind = "all_reduce" if layout is TERM else "all_gather"
            self.ops.append(Op(kind, tuple(parts), (made,), {}, span=self.makers[value].span))
            self.whole[value] = made
        return self.whole[value]

    def _view_of_all(self, op: Op) -> None:
        """A view is made of the sum: of terms, every reader makes its own, and none lies in memory."""
        outputs = tuple(Value(f"{v.name}_all", v.type) for v in op.outputs)
        self.ops.append(Op(op.kind, (self._all_of(op.inputs[0]),), outputs, op.attrs, span=op.span))
        self.whole.update(zip(op.outputs, outputs))

    def _peer(self, value: Value, rank: int) -> Value:
        """The same value of another rank; pieces that are put together are equally large."""
        made = Value(f"{value.name}_rank{rank}", value.type)
        self.ops.append(Op("peer", (), (made,), {"rank": rank, "name": value.name}))
        return made

    def _source(self, value: Value, cut: tuple[int, Share] | None) -> Value:
        """A weight, a table, a state, or what is computed of such alone, whole or this rank's part of it."""
        key = (value, cut)
        if key not in self.sources:
            self.sources[key] = self._made_source(value, cut)
        return self.sources[key]

    def _made_source(self, value: Value, cut: tuple[int, Share] | None) -> Value:
        op = self.makers[value]
        if op.is_state:
            made = self._state(op)
        elif not op.is_source:
            return self._static(op, value, cut)
        else:
            made = op if cut is None else self._cut_weight(op, *cut)
        self.ops.append(made)
        return made.output

    def _state(self, op: Op) -> Op:
        layout = self.shares.layouts.get(op.output)
        if not isinstance(layout, Split):
            return op
        shape = list(op.output.type.shape)
        shape[1 + layout.axis] = self._size(layout.share)
        return Op(op.kind, (), (Value(op.output.name, op.output.type.with_shape(*shape)),), op.attrs, span=op.span)

    def _static(self, op: Op, value: Value, cut: tuple[int, Share] | None) -> Value:
        """Arithmetic on weights that no recipe does."""
        inputs = []
        for operand in op.inputs:
            axis = cut[0] - len(value.type.shape) + len(operand.type.shape) if cut else -1
            is_cut = cut and axis >= 0 and operand.type.shape[axis] == value.type.shape[cut[0]]
            inputs.append(self._source(operand, (axis, cut[1]) if cut and is_cut else None))
        types = OPS[op.kind].infer(tuple(v.type for v in inputs), op.attrs)
        suffix = f"_part{len(self.sources)}" if cut else ""
        outputs = tuple(Value(v.name + suffix, type) for v, type in zip(op.outputs, types))
        self.ops.append(Op(op.kind, tuple(inputs), outputs, op.attrs, span=op.span))
        return outputs[op.outputs.index(value)]

    def _cut_weight(self, op: Op, axis: int, share: Share) -> Op:
        ranges = pieces(share, self.rank.number, self.rank.count)
        shape = list(op.output.type.shape)
        shape[axis] = self._size(share)
        borders = tuple(at for piece in ranges for at in piece)
        recipe = apply("pieces", op.attrs["recipe"], shape=op.output.type.sizes(), axis=axis, borders=borders)
        word = "columns" if axis == len(shape) - 1 and axis else "rows"
        value = Value(f"{op.output.name}_{word}{len(self.sources)}", TensorType(op.output.type.dtype, tuple(shape)))
        if op.is_const:
            return Op(op.kind, (), (value,), {"recipe": recipe}, span=op.span)
        name = f"{op.attrs['name']}.{word}{self.rank.number}"
        if any(o.is_weight and o.attrs["name"] == name for o in self.ops):
            name = f"{name}_{len(self.sources)}"
        return Op(op.kind, (), (value,), {"name": name, "recipe": recipe}, span=op.span)


def _is_static(op: Op) -> bool:
    """It is computed of weights and tables alone."""
    return not is_row_value(op.outputs[0]) and op.outputs[0].type.shape[:1] != ("S",)

"""Products whose results are summed become one product: x + a Aᵀ + b Bᵀ = x + [a b] [A B]ᵀ.

Layers that have two mixers side by side, or attention beside the MLP, end in one launch that way, not in one for each.
"""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.formats import BlockFormat, weight_format
from hfc.formats.recipe import apply
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import OPS
from hfc.ir.roles import is_rotation, is_view, reduces
from hfc.passes.absorb import Neighbours


@dataclass(frozen=True)
class Summand:
    """A product in a sum. input: what it multiplies, before a rotation of `group` (0: none).  scale: its result is multiplied with it.
    ops: all that the joined product takes the place of."""

    value: Value
    input: Value
    weight: Op
    group: int
    scale: float
    ops: tuple[Op, ...]

    @property
    def kind(self) -> tuple:
        """Equal for terms that can be one product."""
        stored = self.weight.output.type
        return stored.dtype, stored.shape[0], self.group, self.input.type.shape[0]


def join_sums(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    made: dict[Op, list[Op]] = {}  # the last op of a sum -> what stands in its place
    gone: set[Op] = set()
    for last in graph.ops:
        if last.kind != "add" or _is_inner(last, near):
            continue
        adds, values = _summed(last, near)
        terms = [term for value in values if (term := _term(value, near))]
        alike = [[t for t in terms if t.kind == kind] for kind in dict.fromkeys(t.kind for t in terms)]
        joined = max(alike, key=len, default=[])
        if len(joined) > 1:
            made[last] = _joined(last, [v for v in values if v not in {t.value for t in joined}], joined)
            gone.update(adds, *(term.ops for term in joined))
    return graph.with_ops(new for op in graph.ops for new in made.get(op, [] if op in gone else [op]))


def _is_inner(add: Op, near: Neighbours) -> bool:
    reader = near.sole_reader(add.output)
    return reader is not None and reader.kind == "add" and reader.output.type == add.output.type


def _summed(last: Op, near: Neighbours) -> tuple[list[Op], list[Value]]:
    """The additions that end in `last`, and what they add, in order."""
    adds, values = [last], list[Value]()
    for value in last.inputs:
        op = near.producers.get(value)
        if op is not None and op.kind == "add" and value.type == last.output.type and near.sole_reader(value) is last:
            inner, found = _summed(op, near)
            adds += inner
            values += found
        else:
            values.append(value)
    return adds, values


def _term(value: Value, near: Neighbours) -> Summand | None:
    """None: it is no product, somebody else reads it, or its input is better computed inside of it, as a norm is."""
    scale, ops, op = 1.0, list[Op](), near.producers.get(value)
    if op is not None and op.kind == "scale" and near.sole_reader(value):
        scale, ops, op = op.attrs["by"], [op], near.producers.get(op.inputs[0])
    if op is None or op.kind != "linear" or near.sole_reader(op.output) is None or len(op.output.type.shape) != 2:
        return None
    weight, x, group = near.producers[op.inputs[1]], op.inputs[0], 0
    maker = near.producers.get(x)
    if maker is not None and is_rotation(maker):
        x, group = maker.inputs[0], maker.attrs["group"]
        ops += [maker] if near.sole_reader(maker.output) else []
    is_alone = weight.is_weight and near.sole_reader(weight.output) is op
    blocks = isinstance(weight_format(weight.output.type.dtype), BlockFormat)
    if _is_normed(x, near) or not is_alone or not blocks or len(x.type.shape) != 2:
        return None
    return Summand(value, x, weight, group, scale, (*ops, op, weight))


def _is_normed(value: Value, near: Neighbours) -> bool:
    maker = near.producers.get(value)
    while maker is not None and is_view(maker):
        maker = near.producers.get(maker.inputs[0])
    return maker is not None and reduces(maker)


def _joined(last: Op, others: list[Value], terms: list[Summand]) -> list[Op]:
    """One product and what is added to it; factors that differ come before it."""
    name, after = last.output.name, terms[0].scale if len({t.scale for t in terms}) == 1 else 1.0
    ops, x = list[Op](), None
    for at, term in enumerate(terms):
        part = term.input
        if term.scale != after:
            part = _append(ops, "scale", f"{name}_part{at}", (part,), part.type, by=term.scale)
        x = part if x is None else _append(ops, "concat", f"{name}_to{at}", (x, part), _wider(x, part))
    assert x is not None, "a sum of no products"
    if terms[0].group:
        x = _append(ops, "hadamard", f"{name}_rotated", (x,), x.type, group=terms[0].group)
    weight = _weight(terms)
    ops.append(weight)
    total = _append(ops, "linear", f"{name}_joined", (x, weight.output), last.output.type)
    if after != 1.0:
        total = _append(ops, "scale", f"{name}_scaled", (total,), last.output.type, by=after)
    for at, value in enumerate(others):
        total = _append(ops, "add", f"{name}_plus{at}", (total, value), last.output.type)
    *before, end = ops
    return [*before, end.rewired({end.output: last.output})]


def _append(ops: list[Op], kind: str, name: str, inputs: tuple[Value, ...], type: TensorType, **attrs) -> Value:
    made = Value(name, type)
    ops.append(Op(kind, inputs, (made,), OPS[kind].complete(attrs)))
    return made


def _wider(x: Value, y: Value) -> TensorType:
    return x.type.with_shape(*x.type.shape[:-1], x.type.size(-1) + y.type.size(-1))


def _weight(terms: list[Summand]) -> Op:
    """The weights' columns, one after another."""
    parts = [term.weight for term in terms]
    first = parts[0].output.type
    value = Value(
        "_".join(p.output.name for p in parts),
        first.with_shape(first.shape[0], sum(p.output.type.size(1) for p in parts)),
    )
    recipe = apply("join_columns", *(p.attrs["recipe"] for p in parts))
    return Op(
        "weight", (), (value,), {**parts[0].attrs, "name": "+".join(p.attrs["name"] for p in parts), "recipe": recipe}
    )

"""The regions of a mixture of experts become one, which a few launches serve where rows are few."""

from __future__ import annotations

from collections.abc import Iterable

from hfc.formats import weight_format
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.members import joined
from hfc.ir.roles import exchanges, is_product, is_rotation, of_experts, reduces
from hfc.passes.absorb import Neighbours
from hfc.passes.regroup import dependencies, is_convex, sort


def join_mixture(graph: Graph, settings) -> Graph:
    """The router, its choice, experts, the shared expert with its gate, and their sum: up to seven regions. The shared expert's first product
    may be one of the router's region: without a gate it is a projection of the same row."""
    if not settings.arch.has("dot4_i8"):
        return graph
    near, dag = Neighbours(graph), dependencies(graph)
    group_of: dict[Op, Op] = {}
    for op in graph.ops:
        found = _mixture(op, near)
        if not found or found & group_of.keys() or not is_convex(dag, list(found)):
            continue
        wider = found | _router(found, near)
        if not wider & group_of.keys() and is_convex(dag, list(wider)):
            found = wider
        regions = [other for other in graph.ops if other in found]
        group_of |= dict.fromkeys(regions, joined("mixture", regions, _read_outside(regions, near)))
    order = dict.fromkeys(group_of.get(op, op) for op in graph.ops)
    return sort(graph.with_ops(order))


def _mixture(down: Op, near: Neighbours) -> set[Op] | None:
    """The regions around `down`, if it is the second product of chosen experts; None: they cannot be joined."""
    root = _only_product(down)
    if root is None or not of_experts(root) or len(down.outputs) != 1:
        return None
    up, last = near.producers.get(_input(root, down)), near.sole_reader(down.output)
    if up is None or last is None or not _makes(up, root) or near.sole_reader(up.output) is not down:
        return None
    width = (last.outputs[0].type.rows, root.output.type.size(2))
    if any(reduces(op) for op in last.inner) or any(v.type.shape != width for v in last.outputs):
        return None
    group = {up, down, last} | _choice(root, near)
    if last.attrs["stem"] == "map":
        return group
    always = _only_product(last)
    if always is None:
        return None
    shared = near.producers.get(_input(always, last))
    if shared is not None and _makes(shared, always) and near.sole_reader(shared.output) is last:
        group.add(shared)
    return group | _gate(last, near)


def _only_product(op: Op) -> Op | None:
    """The one product of a linear region, if its weights are quantized."""
    products = [inner for inner in op.inner if is_product(inner)] if op.attrs.get("stem") == "linear" else []
    return products[0] if len(products) == 1 and _quantized(products) else None


def _quantized(products: Iterable[Op]) -> bool:
    return all(weight_format(op.inputs[1].type.dtype).quantized for op in products)


def _input(product: Op, region: Op) -> Value:
    """What the region's product multiplies, before a rotation inside."""
    rotations = {op.output: op.inputs[0] for op in region.inner if is_rotation(op)}
    return rotations.get(product.inputs[0], product.inputs[0])


def _makes(region: Op, reader: Op) -> bool:
    """Whether `region` makes what `reader` multiplies, one value, by products of the same kind for the same experts."""
    products = [op for op in region.inner if is_product(op)]
    alike = {(op.kind, op.inputs[2:]) for op in (*products, reader)}
    return len(region.outputs) == 1 and bool(products) and len(alike) == 1 and _quantized(products)


def _choice(root: Op, near: Neighbours) -> set[Op]:
    """The region that chooses the experts of `root`, if it is one of its own."""
    maker = near.producers.get(root.inputs[2])
    return {maker} if maker is not None and maker.attrs.get("stem") == "route" else set()


def _router(group: set[Op], near: Neighbours) -> set[Op]:
    """The region that makes the logits of a choice in the group."""
    makers = {near.producers.get(v) for op in group if op.attrs["stem"] == "route" for v in op.inputs}
    return {
        op for op in makers if op is not None and op.attrs.get("stem") == "linear" and not any(map(exchanges, op.inner))
    }


def _read_outside(regions: list[Op], near: Neighbours) -> list[Value]:
    inside = set(regions)
    made = [v for op in regions for v in op.outputs]
    return [v for v in made if v in near.outlive or any(reader not in inside for reader in near.readers.get(v, ()))]


def _gate(last: Op, near: Neighbours) -> set[Op]:
    """The region of one output a row by which the shared expert is multiplied."""
    makers = (near.producers.get(v) for v in last.inputs)
    return {op for op in makers if op is not None and _is_gate(op) and near.sole_reader(op.output) is last}


def _is_gate(op: Op) -> bool:
    products = [inner for inner in op.inner if is_product(inner)] if op.attrs.get("stem") == "linear" else []
    weights = [product.inputs[1].type for product in products]
    return len(weights) == 1 and weights[0].dtype == "f32" and weights[0].size(0) == 1

"""Regions around matrix products: gate · up, projections of one input, what follows them, and the norm before them."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from hfc.ir.element import row_shape
from hfc.ir.graph import Graph, Op, Value, region
from hfc.ir.index import Index, reindex
from hfc.ir.opdef import OPS
from hfc.ir.roles import is_beside, is_constant, is_elementwise, is_product, is_rotation, is_view, of_experts, reduces
from hfc.passes.absorb import Neighbours, origin
from hfc.passes.clone_sums import clone_sums
from hfc.passes.reductions import grown, stray_reductions, vector_index
from hfc.passes.regroup import regroup


def fuse_gate(graph: Graph, _settings=None) -> Graph:
    """silu(linear(x, gate)) * linear(x, up): both tiles of a column meet in one kernel (zipped parts)."""
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups = []
    for op in graph.ops:
        if not is_elementwise(op) or len(op.inputs) != 2:
            continue
        group = {op}
        near.absorb_back(
            op.inputs,
            group,
            lambda o: is_elementwise(o) or is_product(o) or ((is_beside(o) or is_view(o)) and not _multiplied(o, near)),
        )
        linears = [o for o in graph.ops if o in group and is_product(o)] if len(group) > 2 else []
        if len(linears) > 1 and not group & taken and _alike(linears, near):
            taken |= group
            groups.append(("linear", list(group)))
    return regroup(graph, groups)


def _multiplied(op: Op, near: Neighbours) -> bool:
    """A matrix product reads it."""
    return any(is_product(reader) for v in op.outputs for reader in near.readers.get(v, ()))


def _alike(linears: list[Op], near: Neighbours) -> bool:
    """Same kind, input (after views), experts and weight shape."""
    keys = {(o.kind, origin(o.inputs[0], near.producers), o.inputs[2:], o.inputs[1].type.shape) for o in linears}
    return len(keys) == 1


def join_projections(graph: Graph, _settings=None) -> Graph:
    """Linears of one input become one region with a part each; formats may differ."""
    near = Neighbours(graph)
    families: dict[tuple, list[Op]] = {}
    for op in graph.ops:
        if of_experts(op):
            families[(op,)] = [op]
        elif is_product(op):
            families.setdefault(origin(op.inputs[0], near.producers), []).append(op)
    return regroup(graph, [("linear", ops) for ops in families.values()])


def fuse_epilogue(graph: Graph, _settings=None) -> Graph:
    """Elementwise readers of a projection (residual, bias, activation) join it, with the sums over experts that they add."""
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups = []
    for op in graph.ops:
        if op.attrs.get("stem") != "linear":
            continue
        group = {op}
        for value in op.outputs:
            near.absorb_forward(value, group, is_elementwise, taken, partial(_beside, linear=op, near=near))
        if len(group) > 1 and not group & taken:
            groups.append(("linear", list(group)))
        taken |= group
    return regroup(graph, groups)


def _beside(op: Op, linear: Op, near: Neighbours) -> bool:
    """It does not depend on the region's results, of which an epilogue has one element, nor is it what the region multiplies."""
    if not is_beside(op) or set(op.outputs) & set(linear.inputs):
        return False
    seen, stack = {op}, [op]
    while stack:
        made = stack.pop()
        if made is linear:
            return False
        makers = {near.producers[v] for v in made.inputs if v in near.producers} - seen
        later = [maker for maker in makers if near.place[maker] >= near.place[linear]]  # what stands before it cannot
        seen.update(later)
        stack += later
    return True


def fuse_norm(graph: Graph, _settings=None) -> Graph:
    """A norm read by linear regions only is computed inside each of them; views and rotations of the input join too, and sums with
    a norm after the sublayer that the next sum computes again."""
    graph, sums = clone_sums(_clone_norms(_clone_rotations(graph)), _linear_inputs)
    near = Neighbours(graph)
    groups = []
    for op in graph.ops:
        if op.attrs.get("stem") != "linear":
            continue
        groups.append(("linear", list(_with_inputs(op, near, sums))))
    return regroup(graph, groups)


def _with_inputs(linear: Op, near: Neighbours, sums: Collection[Op]) -> set[Op]:
    """The region and what of its inputs' making it can do itself. sums: ops that were copied for it."""
    inputs = _linear_inputs(linear)

    def grow(banned: set[Op]) -> set[Op]:
        group = {linear}
        near.absorb_back(
            inputs,
            group,
            lambda o: (o in sums or reduces(o) or OPS[o.kind].selects or is_constant(o)) and o not in banned,
        )
        return group

    def stray(group: set[Op]) -> set[Op]:
        return stray_reductions(group, [(v, _input_index(linear, v)) for v in inputs])

    return grown(grow, stray)


def _input_index(linear: Op, value: Value) -> Index:
    """Element j of a row's input, or of one of the experts that the row has."""
    product = next(o for o in linear.inner if is_product(o))
    size, shape = product.inputs[1].type.size(-1), row_shape(value)
    return vector_index(value) if shape[-1:] == (size,) else reindex(("j",), (size,), shape)


def _linear_inputs(region: Op) -> list[Value]:
    """What its linears read, before a rotation inside the region."""
    rotations = {o.output: o.inputs[0] for o in region.inner if is_rotation(o)}
    return [rotations.get(o.inputs[0], o.inputs[0]) for o in region.inner if is_product(o)]


def _clone_rotations(graph: Graph) -> Graph:
    """Every linear region rotates its input itself: a rotation is never a launch."""
    rotations = {op.output: op for op in graph.ops if is_rotation(op)}
    ops = []
    for op in graph.ops:
        if op in rotations.values():
            continue
        wanted = [rotations[v] for v in op.inputs if v in rotations]
        if wanted:
            assert op.attrs.get("stem") == "linear", f"{op} reads a rotated value"
            copies = [_copy(rotation, op) for rotation in wanted]
            for rotation, copy in zip(wanted, copies):
                op = op.rewired({rotation.output: copy.output})
            op = region([*copies, *op.inner], list(op.outputs), op.attrs)
        ops.append(op)
    return graph.with_ops(ops)


def _clone_norms(graph: Graph) -> Graph:
    """One copy of a norm for each linear region that reads it, where nothing else does."""
    near = Neighbours(graph)
    shared = {op.output: op for op in graph.ops if reduces(op) and _only_linears(op.output, near)}
    ops = []
    for op in graph.ops:
        if op in shared.values():
            continue
        for value in [v for v in op.inputs if v in shared]:
            copy = _copy(shared[value], op)
            ops.append(copy)
            op = op.rewired({value: copy.output})
        ops.append(op)
    return graph.with_ops(ops)


def _only_linears(value: Value, near: Neighbours) -> bool:
    found = near.readers.get(value, [])
    linears = all(r.attrs.get("stem") == "linear" and value in _linear_inputs(r) for r in found)
    return bool(found) and linears and value not in near.outlive


def _copy(norm: Op, reader: Op) -> Op:
    output = Value(f"{norm.output.name}_{reader.outputs[0].name}", norm.output.type)
    return norm.rewired({norm.output: output})

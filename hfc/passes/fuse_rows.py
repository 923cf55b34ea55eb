"""What is left is row-local (embedding, sandwich norms, sums over experts): chains of it become map regions."""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.ir.opdef import OPS
from hfc.ir.roles import is_constant, is_view, reduces
from hfc.passes.absorb import Neighbours
from hfc.passes.reductions import grown, stray_reductions, vector_index
from hfc.passes.regroup import regroup


def fuse_rows(graph: Graph, _settings=None) -> Graph:
    """Each op joins its only reader while at most one norm's reduction runs over one size; later chains absorb earlier ones."""
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups: list[tuple[str, list[Op]]] = []
    for op in reversed(graph.ops):
        if op.is_source or op.body or op in taken:
            continue
        group = {op}
        if OPS[op.kind].stem:
            near.absorb_back(op.inputs, group, lambda o: is_view(o) or is_constant(o))
        else:
            group = _chain(op, near, taken)
        taken |= group
        groups.append((OPS[op.kind].stem or "map", list(group)))
    return regroup(graph, groups)


def _chain(last: Op, near: Neighbours, taken: set[Op]) -> set[Op]:
    def grow(banned: set[Op]) -> set[Op]:
        group = {last}
        near.absorb_back(last.inputs, group, lambda o: o not in taken | banned and _joins(o, group))
        return group

    return grown(grow, lambda group: stray_reductions(group, [(v, vector_index(v)) for v in last.outputs]))


def _joins(op: Op, group: set[Op]) -> bool:
    """Ops without a reduction always; one more reduction only if it runs over the same vector, and over the row's own."""
    if op.body or OPS[op.kind].element is None:
        return False
    if not reduces(op):
        return True
    if any(OPS[o.kind].neighbours for o in group):
        return False
    return {_vector(o) for o in group if reduces(o)} <= {_vector(op)}


def _vector(op: Op) -> tuple[int | str, ...]:
    return op.inputs[0].type.shape[1:]

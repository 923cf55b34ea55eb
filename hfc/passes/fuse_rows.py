"""What is left is row-local (embedding, sandwich norms, sums over experts): chains of it become map regions."""

from __future__ import annotations

from hfc.ir.graph import SOURCES, Graph, Op
from hfc.passes.absorb import Neighbours, is_elementwise
from hfc.passes.clone_views import VIEWS
from hfc.passes.regroup import regroup

ALONE = {  # ops with a skeleton of their own
    "route": "route", "causal_conv": "conv", "argmax": "top", "top_candidates": "top", "select_candidates": "select",
}  # fmt: skip
JOINING = (*VIEWS, "weighted_sum", "gather", "concat", "keep_first", "recall")
NEIGHBOURS = ("previous", "dynamic_conv")  # they read other rows of their first operand


def fuse_rows(graph: Graph, _settings=None) -> Graph:
    """Each op joins its only reader while at most one norm's reduction runs over one size; later chains absorb earlier ones."""
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups: list[tuple[str, list[Op]]] = []
    for op in reversed(graph.ops):
        if op.kind in SOURCES or op.body or op in taken:
            continue
        group = {op}
        if op.kind in ALONE:
            near.absorb_back(op.inputs, group, lambda o: o.kind in VIEWS)
        else:
            near.absorb_back(op.inputs, group, lambda o: o not in taken and _joins(o, group))
        taken |= group
        groups.append((ALONE.get(op.kind, "map"), list(group)))
    return regroup(graph, groups)


def _joins(op: Op, group: set[Op]) -> bool:
    """Ops without a reduction always; one more reduction only if it runs over the same vector, and over the row's own."""
    if is_elementwise(op) or op.kind in (*JOINING, *NEIGHBOURS):
        return True
    if any(o.kind in NEIGHBOURS for o in group):
        return False
    sizes = {o.output.type.shape[1:] for o in group if o.kind in ("rms_norm", "l2_norm", "softmax")}
    return op.kind in ("rms_norm", "l2_norm") and sizes <= {op.output.type.shape[1:]}

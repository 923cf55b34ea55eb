"""conv + SiLU + split + L2 norm + gates -> gated delta -> gated norm: one region, so that nothing between them meets memory."""

from __future__ import annotations

from hfc.ir.element import row_shape
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.index import Index, reindex
from hfc.passes.absorb import Neighbours, is_elementwise, is_view_or_elementwise, reduces
from hfc.passes.reductions import grown, stray_reductions
from hfc.passes.regroup import regroup


def fuse_delta(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    groups: list[tuple[str, list[Op]]] = []
    for delta in graph.ops:
        if delta.kind != "gated_delta":
            continue
        groups.append(("delta", list(_around(delta, near))))
    return regroup(graph, groups)


def _around(delta: Op, near: Neighbours) -> set[Op]:
    end = delta.outputs[0]

    def grow(banned: set[Op]) -> set[Op]:
        nonlocal end
        group = {delta}
        near.absorb_back(delta.inputs[:5], group, _before)
        allowed = lambda op: (is_elementwise(op) or reduces(op)) and op not in banned  # noqa: E731
        end = near.absorb_forward(delta.outputs[0], group, allowed, set())
        return group

    return grown(grow, lambda group: stray_reductions(group, [(end, _output_index(delta, end))]))


def _output_index(delta: Op, value: Value) -> Index:
    """Element j of a value head's output."""
    return reindex(("g", "j"), row_shape(delta.outputs[0]), row_shape(value))


def _before(op: Op) -> bool:
    return is_view_or_elementwise(op) or op.kind in ("l2_norm", "causal_conv")

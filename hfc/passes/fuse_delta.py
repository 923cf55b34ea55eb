"""conv + SiLU + split + L2 norm + gates -> gated delta -> gated norm: one region, so that nothing between them meets memory."""

from __future__ import annotations

from hfc.ir.convolved import Convolved, convolved
from hfc.ir.element import row_shape
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.index import Index, reindex
from hfc.ir.roles import is_elementwise, is_pointwise, reduces
from hfc.passes.absorb import Neighbours
from hfc.passes.reductions import grown, stray_reductions
from hfc.passes.regroup import regroup
from hfc.target.state_block import one_block

MAX_TAPS = 16  # rows of a short segment


def fuse_delta(graph: Graph, _settings=None) -> Graph:
    """The gated delta rule with its convolution; other recurrences are left to fuse_recurrence."""
    near = Neighbours(graph)
    groups: list[tuple[str, list[Op]]] = []
    for delta in graph.ops_of("linear_recurrence"):
        found = convolved(delta, near.producers)
        if found is None or not _fits(delta, found):
            continue
        group = _around(delta, near, found)
        if found.ops | {found.conv} <= group:
            groups.append(("delta", list(group)))
    return regroup(graph, groups)


def _around(delta: Op, near: Neighbours, found: Convolved) -> set[Op]:
    end = delta.outputs[0]

    def before(op: Op) -> bool:
        return is_pointwise(op) or op is found.conv or op in found.ops

    def grow(banned: set[Op]) -> set[Op]:
        nonlocal end
        group = {delta}
        near.absorb_back(delta.inputs[:5], group, before)
        allowed = lambda op: (is_elementwise(op) or reduces(op)) and op not in banned  # noqa: E731
        end = near.absorb_forward(delta.outputs[0], group, allowed, set())
        return group

    return grown(grow, lambda group: stray_reductions(group, [(end, output_index(delta, end))], delta))


def output_index(recurrence: Op, value: Value) -> Index:
    """Element j of a value head's output."""
    return reindex(("g", "j"), row_shape(recurrence.outputs[0]), row_shape(value))


def _fits(delta: Op, found: Convolved) -> bool:
    dk, dv = delta.inputs[5].type.sizes(2)
    return one_block(dk, dv) and found.conv.inputs[1].type.size(1) <= MAX_TAPS

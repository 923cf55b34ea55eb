"""views, norms of heads, gates -> linear recurrence -> skip term, norm, gate: one region, whatever made q, k and v."""

from __future__ import annotations

from hfc.ir.element import row_shape
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.index import Index
from hfc.ir.roles import is_elementwise, is_view_or_elementwise, reduces, roots
from hfc.passes.absorb import Neighbours
from hfc.passes.fuse_delta import output_index
from hfc.passes.reductions import grown, stray_reductions
from hfc.passes.regroup import regroup
from hfc.target.state_block import one_block


def fuse_recurrence(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups: list[tuple[str, list[Op]]] = []
    for recurrence in roots(graph.ops, "recurrence"):
        group = _around(recurrence, near, taken)
        taken |= group
        groups.append(("recurrence", list(group)))
    return regroup(graph, groups)


def _around(recurrence: Op, near: Neighbours, taken: set[Op]) -> set[Op]:
    operands, end = list(recurrence.inputs[:5]), recurrence.outputs[0]
    dk, dv = recurrence.inputs[5].type.sizes(2)

    def before(op: Op) -> bool:
        """Every block that reads a head does this again: arithmetic, and norms of no more than a head."""
        return is_view_or_elementwise(op) or (reduces(op) and op.inputs[0].type.size(-1) <= max(dk, dv))

    def after(op: Op) -> bool:
        return is_elementwise(op) or (reduces(op) and one_block(dk, dv))

    def grow(banned: set[Op]) -> set[Op]:
        nonlocal end
        group = {recurrence}
        near.absorb_back(operands, group, lambda op: before(op) and op not in banned | taken)
        end = near.absorb_forward(recurrence.outputs[0], group, lambda op: after(op) and op not in banned, taken)
        return group

    def stray(group: set[Op]) -> set[Op]:
        return stray_reductions(group, [*map(_operand, operands), (end, output_index(recurrence, end))], recurrence)

    return grown(grow, stray)


def _operand(value: Value) -> tuple[Value, Index]:
    """With its element j of head g."""
    return value, ("g", "j")[: len(row_shape(value))]

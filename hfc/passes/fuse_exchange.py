"""What ranks exchange is read once: the sum over all ranks, and what is added to it, are a kernel of their own.

%o_all = all_reduce(%o, %o_rank1); %y = add(%x, %o_all)   ->   kernel map { both }
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.ir.roles import exchanges, is_elementwise
from hfc.passes.absorb import Neighbours
from hfc.passes.regroup import regroup


def fuse_exchange(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups: list[tuple[str, list[Op]]] = []
    for op in graph.ops:
        if not exchanges(op):
            continue
        group = {op}
        near.absorb_forward(op.output, group, is_elementwise, taken)
        taken |= group
        groups.append(("map", list(group)))
    return regroup(graph, groups)

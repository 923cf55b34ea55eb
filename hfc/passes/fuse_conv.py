"""Arithmetic -> causal convolution -> bias, activation, gate: one region. A gated convolution (LFM2's) is a single launch."""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.ir.roles import is_elementwise, is_pointwise, roots
from hfc.passes.absorb import Neighbours
from hfc.passes.regroup import regroup


def fuse_conv(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    taken: set[Op] = set()
    groups: list[tuple[str, list[Op]]] = []
    for conv in roots(graph.ops, "conv"):
        if conv in taken:
            continue
        group = {conv}
        near.absorb_back(conv.inputs[:1], group, lambda op: is_pointwise(op) and op not in taken)
        near.absorb_forward(conv.outputs[0], group, is_elementwise, taken)
        taken |= group
        groups.append(("conv", list(group)))
    return regroup(graph, groups)

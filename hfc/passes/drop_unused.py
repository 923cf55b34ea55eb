"""Ops whose results nothing needs are not computed: neither an output of the graph nor a state is made from them."""

from __future__ import annotations

from hfc.ir.graph import Graph


def drop_unused(graph: Graph, _settings=None) -> Graph:
    needed = graph.live_out()
    kept = []
    for op in reversed(graph.ops):
        if op.is_state or needed.intersection(op.outputs):  # a state's place in the order of layers counts
            kept.append(op)
            needed.update(op.inputs)
    return graph.with_ops(reversed(kept))

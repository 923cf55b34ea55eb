"""Every reader gets its own reshape, split and pick_rows, and arithmetic on weights: free inside the kernel that reads them."""

from __future__ import annotations

from hfc.ir.graph import Graph, Op, Value
from hfc.ir.roles import is_constant, is_view


def clone_views(graph: Graph, _settings=None) -> Graph:
    producers, outlive = graph.producers(), graph.live_out()
    cloned = {op for op in graph.ops if (is_view(op) or is_constant(op)) and not outlive.intersection(op.outputs)}
    ops: list[Op] = []
    for op in graph.ops:
        if op in cloned:
            continue
        own: dict[Value, Value] = {}
        for value in op.inputs:
            _clone(value, producers, cloned, own, ops, f"{op.outputs[0].name}")
        ops.append(op.rewired(own))
    return graph.with_ops(ops)


def _clone(value: Value, producers, cloned: set[Op], own: dict[Value, Value], ops: list[Op], suffix: str) -> None:
    op = producers.get(value)
    if op not in cloned or value in own:
        return
    for operand in op.inputs:
        _clone(operand, producers, cloned, own, ops, suffix)
    own.update((v, Value(f"{v.name}_{suffix}", v.type)) for v in op.outputs)
    ops.append(op.rewired(own))

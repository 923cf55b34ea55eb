"""Every reader gets its own reshape, split and pick_rows: free inside the kernel that reads them, a launch outside."""

from __future__ import annotations

from hfc.ir.graph import Graph, Op, Value

VIEWS = ("reshape", "split", "pick_rows")


def clone_views(graph: Graph, _settings=None) -> Graph:
    producers, outlive = graph.producers(), graph.live_out()
    cloned = {op for op in graph.ops if op.kind in VIEWS and not outlive.intersection(op.outputs)}
    ops: list[Op] = []
    for op in graph.ops:
        if op in cloned:
            continue
        own: dict[Value, Value] = {}
        for value in op.inputs:
            _clone(value, producers, cloned, own, ops, f"{op.outputs[0].name}")
        ops.append(Op(op.kind, tuple(own.get(v, v) for v in op.inputs), op.outputs, op.attrs, op.body, op.span))
    return graph.with_ops(ops)


def _clone(value: Value, producers, cloned: set[Op], own: dict[Value, Value], ops: list[Op], suffix: str) -> None:
    op = producers.get(value)
    if op not in cloned or value in own:
        return
    for operand in op.inputs:
        _clone(operand, producers, cloned, own, ops, suffix)
    outputs = tuple(Value(f"{v.name}_{suffix}", v.type) for v in op.outputs)
    own.update(zip(op.outputs, outputs))
    ops.append(Op(op.kind, tuple(own.get(v, v) for v in op.inputs), outputs, op.attrs, span=op.span))

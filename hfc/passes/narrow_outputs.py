"""Only the rows whose logits are wanted pass the head: pick_rows moves up to the last row-local chain.

    %h = rms_norm(%x, %w); %l = linear(%h, %head)   ->   %p = pick_rows(%x); %h = ...; %l: [R, V]
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import definition


def narrow_outputs(graph: Graph, _settings=None) -> Graph:
    """Taps (outputs that other ops read) keep all rows."""
    producers, readers = graph.producers(), graph.readers()
    narrowed: dict[Value, Value] = {}
    chain: set[Op] = set()
    for output in graph.outputs:
        if output.type.shape[0] == "T" and not readers.get(output):
            start = _start(output, producers, readers, chain)
            narrowed[start] = Value(f"{start.name}_out", _rows(start.type))
    ops = []
    for op in graph.ops:
        ops.append(_narrow(op, narrowed) if op in chain else op)
        for value in op.outputs:
            if value in narrowed and op not in chain:
                ops.append(Op("pick_rows", (value,), (narrowed[value],), span=op.span))
    outputs = [narrowed.get(v, v) for v in graph.outputs]
    return Graph(graph.name, graph.inputs, ops, outputs, dict(graph.updates))


def _start(value: Value, producers, readers, chain: set[Op]) -> Value:
    """Walk up while an op has one row operand that nothing else reads; collects the ops on the way."""
    while True:
        op = producers.get(value)
        rows = [v for v in op.inputs if v.type.shape[:1] == ("T",)] if op else []
        if len(rows) != 1 or len(op.outputs) != 1 or op.kind in ("gather", "pick_rows") or definition(op.kind).wants_step:
            return value
        chain.add(op)
        value = rows[0]
        if len(readers[value]) != 1:
            return value


def _rows(type: TensorType) -> TensorType:
    return type.with_shape("R", *type.shape[1:])


def _narrow(op: Op, narrowed: dict[Value, Value]) -> Op:
    output = Value(op.output.name, _rows(op.output.type))
    narrowed[op.output] = output
    return Op(op.kind, tuple(narrowed.get(v, v) for v in op.inputs), (output,), op.attrs, span=op.span)

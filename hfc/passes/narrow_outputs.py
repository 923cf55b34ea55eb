"""Only the rows whose logits are wanted pass the head: pick_rows moves up to the last row-local chain.

%h = rms_norm(%x, %w); %l = linear(%h, %head)   ->   %p = pick_rows(%x); %h = ...; %l: [R, V]
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import definition
from hfc.ir.roles import is_lookup
from hfc.passes.settings import Settings


def narrow_outputs(graph: Graph, settings: Settings | None = None) -> Graph:
    """Taps (outputs after the logits) keep all rows: what of the chain they need runs a second time, for those."""
    logits, *taps = graph.outputs
    if settings and (settings.is_draft or not settings.gives_logits) or logits.type.shape[0] != "T":
        return graph
    producers, readers = graph.producers(), graph.readers()
    narrowed: dict[Value, Value] = {}
    chain: set[Op] = set()
    is_read = logits in readers or logits in graph.updates.values() or logits in taps
    start = logits if is_read else _start(logits, producers, readers, chain)
    narrowed[start] = Value(f"{start.name}_out", _rows(start.type))
    shared = {v for op in chain for v in op.outputs if any(r not in chain for r in readers.get(v, ()))}
    tapped = _tapped(graph, {*taps, *shared}, chain)
    ops = []
    for op in graph.ops:
        if op not in chain or op in tapped:
            ops.append(op)
        if op in chain:
            ops.append(_narrow(op, narrowed, "_out" if op in tapped else ""))
        for value in op.outputs:
            if value in narrowed and op not in chain:
                ops.append(Op("pick_rows", (value,), (narrowed[value],), span=op.span))
    return Graph(graph.name, graph.inputs, ops, [narrowed[logits], *taps], dict(graph.updates))


def _start(value: Value, producers, readers, chain: set[Op]) -> Value:
    """Walk up while an op has one row operand that nothing else reads; collects the ops on the way."""
    while True:
        op = producers.get(value)
        rows = [v for v in op.inputs if v.type.shape[:1] == ("T",)] if op else []
        if len(rows) != 1 or len(op.outputs) != 1 or is_lookup(op) or definition(op.kind).wants_step:
            return value
        chain.add(op)
        value = rows[0]
        maker = producers.get(value)
        if len(readers[value]) != 1 and not (maker and definition(maker.kind).internal):
            return value  # a rotation goes on: every projection that reads a value rotates it itself


def _tapped(graph: Graph, taps: set[Value], chain: set[Op]) -> set[Op]:
    """The ops of the chain that a tap, or an op outside of it, needs for every row."""
    wanted, found = set(taps), set()
    for op in reversed(graph.ops):
        if op in chain and op.output in wanted:
            found.add(op)
            wanted.update(op.inputs)
    return found


def _rows(type: TensorType) -> TensorType:
    return type.with_shape("R", *type.shape[1:])


def _narrow(op: Op, narrowed: dict[Value, Value], ending: str) -> Op:
    narrowed[op.output] = Value(op.output.name + ending, _rows(op.output.type))
    return op.rewired(narrowed)

"""A model's graph to the part of it that one stage of a pipeline runs; what crosses a cut becomes its inputs and outputs.

    graph(tokens): ... %9 = add(...) (hidden[1]) ... %20 = linear(...)
    stage 0 of 2:  graph(tokens) -> %9          stage 1 of 2:  graph(tokens, %9) -> %20, taps

Everything up to a cut's value belongs to the stages before it. Weights, tables, and what is computed from them alone, belong to every
stage that reads them; a state to one. Taps belong to the last stage: what it does not make of them itself, it receives.
"""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.ir.graph import Graph, Op, Value
from hfc.passes.settings import Settings, StageCut


def cut_stages(graph: Graph, settings: Settings | None = None) -> Graph:
    """The graph gives out the logits, taps, and in order the value after each stage but the last (Settings.graph_taps)."""
    if settings is None or settings.stage is None:
        return graph
    cut = settings.stage
    first_end = len(graph.outputs) - len(cut.taps)
    outputs, ends = graph.outputs[:first_end], graph.outputs[first_end:]
    stages = stage_of_ops(graph, ends)
    _check_states(graph, stages, cut)
    own = [op for op in graph.ops if stages.get(op) == cut.number]
    read = {v for op in own for v in op.inputs} | set(outputs if cut.is_last else ())
    later = {v for op in graph.ops if stages.get(op, 0) > cut.number for v in op.inputs} | set(outputs)
    received = [v for op in graph.ops if stages.get(op, cut.number) < cut.number for v in op.outputs if v in read]
    sent = outputs if cut.is_last else [v for op in own for v in op.outputs if v in later]
    for value in (*received, *(() if cut.is_last else sent)):
        _check_travels(value, cut)
    updates = {state: new for state, new in graph.updates.items() if any(new in op.outputs for op in own)}
    return Graph(graph.name, [*graph.inputs, *received], _with_sources(graph, stages, own, read), list(sent), updates)


def stage_of_ops(graph: Graph, ends: list[Value]) -> dict[Op, int]:
    """Op -> the stage that runs it; without those that stages may share, which need no token."""
    moving, running = set(graph.inputs), []
    for op in graph.ops:
        if moving.intersection(op.inputs):
            moving.update(op.outputs)
            running.append(op)
    found = dict.fromkeys(running, len(ends))
    for number, end in reversed(list(enumerate(ends))):
        needed = {end}
        for op in reversed(running):
            if needed.intersection(op.outputs):
                found[op] = number
                needed.update(op.inputs)
    return found


def _with_sources(graph: Graph, stages: dict[Op, int], own: list[Op], read: set[Value]) -> list[Op]:
    """The ops of a stage with what they read that needs no token, in the graph's order."""
    needed, found = set(read), set(own)
    for op in reversed(graph.ops):
        if op not in stages and needed.intersection(op.outputs):
            found.add(op)
            needed.update(op.inputs)
    return [op for op in graph.ops if op in found]


def _check_travels(value: Value, cut: StageCut) -> None:
    if value.type.dtype != "f32" or value.type.shape[:1] != ("T",):
        raise HfcError(
            f"stages {_shown(cut)}: {value.type} would have to travel from one device to the next; only rows of f32 do",
            hint="cut between other layers",
        )


def _check_states(graph: Graph, stages: dict[Op, int], cut: StageCut) -> None:
    """A state is written where it is read: layers that share a cache share a stage."""
    at: dict[Value, int] = {}
    names = {op.output: op.attrs["name"] for op in graph.ops if op.is_state}
    lies = {new: state for state, new in graph.updates.items()}
    for op in graph.ops:
        if op.is_source or op not in stages:
            continue
        for value in (*op.inputs, *op.outputs):
            state = lies.get(value, value)
            if state in names and at.setdefault(state, stages[op]) != stages[op]:
                raise HfcError(
                    f"stages {_shown(cut)}: the state {names[state]} is used by stage {at[state]} and by stage {stages[op]}",
                    hint="cut where all layers that share it lie on one side",
                )


def _shown(cut: StageCut) -> str:
    return ", ".join(f"{first}-{last}" for first, last in cut.ranges)

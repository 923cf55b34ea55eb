"""Checks that a graph is well formed: SSA order, types, states, and after fusion that every op lies in one region."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.ops import definition

STAGES = ("built", "fused")  # fused: every op but the sources lies in a region; regions never nest


def verify(graph: Graph, stage: str = "built") -> None:
    """Raises HfcError that names the op and what is wrong with it."""
    assert stage in STAGES, stage
    defined: set[Value] = set(graph.inputs)
    for op in graph.ops:
        _check(op, defined)
        if stage == "fused" and not op.is_region and not op.is_source:
            raise _wrong(op, "is outside of any kernel region")
    for value in (*graph.outputs, *graph.updates.values()):
        if value not in defined:
            raise HfcError(f"graph {graph.name}: {value} is returned but never defined")
    for op in graph.ops:
        for inner in op.inner if op.is_region else (op,):
            _check_reads(inner, graph)
    for state, new in graph.updates.items():
        if state.type != new.type:
            raise HfcError(f"graph {graph.name}: state {state} is {state.type}, its new value {new} is {new.type}")


def _check(op: Op, defined: set[Value]) -> None:
    for value in op.inputs:
        if value not in defined:
            raise _wrong(op, f"reads {value} before it is defined")
    if op.is_region:
        _check_region(op, defined)
    elif not op.is_source:
        try:
            types = definition(op.kind).infer(tuple(v.type for v in op.inputs), op.attrs)
        except HfcError as error:
            raise HfcError(error.message, error.span or op.span, error.hint) from None
        found = tuple(v.type for v in op.outputs)
        if types != found:
            raise _wrong(op, f"has type {', '.join(map(str, found))}, its rule gives {', '.join(map(str, types))}")
    defined.update(op.outputs)


def _check_reads(op: Op, graph: Graph) -> None:
    """A cache of positions that the step writes is read after the write: nothing else orders the two.

    `recall` reads a state as the step before left it, which its kernels keep."""
    ways = () if op.is_source else definition(op.kind).reads
    for value, way in zip(op.inputs, ways):
        if way == "cache" and value.type.dtype == "kv" and value in graph.updates:
            raise _wrong(op, f"reads {value}, not {graph.updates[value]}, what the step makes of it")


def _check_region(op: Op, defined: set[Value]) -> None:
    inside = set(op.inputs)
    for inner in op.inner:
        if inner.is_source or inner.is_region:
            raise _wrong(op, f"contains {inner.kind}; sources and regions stay outside")
        _check(inner, inside)
    for value in op.outputs:
        if value not in inside or value in op.inputs:
            raise _wrong(op, f"exports {value}, which its body does not define")
    redefined = defined & {v for inner in op.inner for v in inner.outputs}
    if redefined:
        raise _wrong(op, f"defines {redefined} a second time")


def _wrong(op: Op, what: str) -> HfcError:
    names = ", ".join(map(repr, op.outputs)) or "?"
    return HfcError(f"{names} = {op.kind}: {what}", op.span)

"""Liveness: values that are never alive together share memory."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.base.dataclass import dataclass
from hfc.ir.graph import Graph, Value
from hfc.ir.members import handed_on

ALIGNMENT = 256


@dataclass(frozen=True)
class Interval:
    """A value's bytes, and the first and last launch that touches it."""

    value: Value
    nbytes: int
    first: int
    last: int


def intervals(graph: Graph, nbytes: dict[Value, int], filled: Mapping[Value, int] | None = None) -> list[Interval]:
    """One interval for each buffer in `nbytes`; outputs of the graph stay alive to the end.

    filled: of a graph that runs in parts, the op before which each input is filled; what goes out is taken after its maker."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for value in graph.inputs:
        if value in nbytes:
            first[value] = last[value] = 0 if filled is None else filled[value]
    for at, op in enumerate(graph.ops):
        for value in (*op.inputs, *handed_on(op), *op.outputs):
            if value in nbytes:
                first.setdefault(value, at)
                last[value] = at
    for value in graph.outputs if filled is None else ():
        last[value] = len(graph.ops)
    return [Interval(v, nbytes[v], first[v], last[v]) for v in nbytes]


def place(found: list[Interval]) -> tuple[dict[Value, int], int]:
    """Offsets, and the arena's size: largest first, each at the lowest place where nothing alive with it lies."""
    placed: list[tuple[int, Interval]] = []
    for one in sorted(found, key=lambda i: (-i.nbytes, i.first)):
        size = -(-one.nbytes // ALIGNMENT) * ALIGNMENT
        offset = 0
        for start, other in sorted((p for p in placed if _overlap(p[1], one)), key=lambda p: p[0]):
            if start - offset >= size:
                break
            offset = max(offset, start + -(-other.nbytes // ALIGNMENT) * ALIGNMENT)
        placed.append((offset, one))
    end = max((start + -(-i.nbytes // ALIGNMENT) * ALIGNMENT for start, i in placed), default=0)
    return {i.value: start for start, i in placed}, end


def _overlap(a: Interval, b: Interval) -> bool:
    return a.first <= b.last and b.first <= a.last

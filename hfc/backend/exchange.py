"""What ranks exchange: where it lies, and the launches in which they meet before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hfc.backend.memory import ALIGNMENT
from hfc.ir.graph import Graph, Value
from hfc.plan import Buffer, inbox_of
from hfc.pointer import Pointer

MEET = "hfc_exchange"  # on the host a function of the library, in a GPU's tape a kernel, or a call of the runtime


def exchanged_values(graph: Graph) -> list[Value]:
    """This rank's own values that others read, in the order of the launches that read them."""
    peers = {op.output: op.attrs["name"] for op in graph.ops if op.is_peer}
    found: dict[Value, None] = {}
    for op in graph.ops:
        names = {peers[v] for v in op.inputs if v in peers}
        found |= dict.fromkeys(v for v in op.inputs if v.name in names and v not in peers)
    assert {v.name for v in found} == set(peers.values()), "a rank reads what the others do not keep in memory"
    return list(found)


def exchange_buffers(
    values: Iterable[Value], row_bytes: Callable[[Value], int], limit: dict[str, int], arena: int, others: Iterable[int]
) -> tuple[tuple[Buffer, ...], int]:
    """Two places behind the arena, by turns: a rank writes to one again when all others have read it, since they met once more.

    others: ranks that have a place here for what is brought of theirs, see plan.inbox_of."""
    values = list(values)
    place = max((-(-row_bytes(v) * limit[v.type.rows] // ALIGNMENT) * ALIGNMENT for v in values), default=0)
    made = tuple(
        Buffer(
            v.name, v.type.dtype, row_bytes(v), v.type.rows, arena + at % 2 * place, row_bytes(v) * limit[v.type.rows]
        )
        for at, v in enumerate(values)
    )
    arena += min(len(values), 2) * place
    for rank in others:
        made += (Buffer(inbox_of(rank), "f32", place // limit["T"], "T", arena, place),)
        arena += place
    return made, arena


def exchanged_by(pointers: Iterable[Pointer]) -> tuple[Pointer, ...]:
    """Of the pointers of a region: this rank's value and those of the others; nothing for a region that reads none."""
    peers = tuple(pointer for pointer in pointers if pointer.kind == "peer")
    return (Pointer.buffer(peers[0].name), *peers) if peers else ()

"""Attention in two regions: what comes before the cache (norm, RoPE, write), and attention with what scales its output.

They stay apart because rows of one step read each other's keys: the write must be complete first. Writes that nothing in the
graph reads are one region for all layers.
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.passes.absorb import Neighbours, is_elementwise, is_view_or_elementwise
from hfc.passes.regroup import regroup


def fuse_attention(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    groups: list[tuple[str, list[Op]]] = []
    for attend in graph.ops:
        if attend.kind != "attend":
            continue
        reads = {attend}
        near.absorb_forward(attend.outputs[0], reads, is_elementwise, set())
        write = near.producers[attend.inputs[1]]
        writes = {write}
        near.absorb_back(write.inputs[1:], writes, _before)
        _absorb_query(near, attend, writes, reads)
        groups += [("map", list(writes)), ("attend", list(reads))]
    return regroup(graph, [*groups, ("map", _lone_writes(graph, near))])


def _lone_writes(graph: Graph, near: Neighbours) -> list[Op]:
    """Writes to caches that this graph does not read (a draft does), with what comes before them: all of them together."""
    read = {op.inputs[1] for op in graph.ops if op.kind == "attend"}
    writes = {op for op in graph.ops if op.kind == "kv_append" and op.output not in read}
    near.absorb_back([v for op in writes for v in op.inputs[1:]], writes, _before)
    return list(writes)


def _absorb_query(near: Neighbours, attend: Op, writes: set[Op], reads: set[Op]) -> None:
    """The query's norm and RoPE join the write; a query that is only a view stays with attention."""
    query = {attend}
    near.absorb_back(attend.inputs[:1], query, _before)
    query.discard(attend)
    if all(op.kind in ("reshape", "split") for op in query):
        reads |= query
    else:
        writes |= query


def _before(op: Op) -> bool:
    return is_view_or_elementwise(op) or op.kind in ("rope", "rms_norm", "l2_norm")

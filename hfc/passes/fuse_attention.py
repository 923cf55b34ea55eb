"""Attention in two regions: what comes before the cache (norm, RoPE, write), and attention with what scales its output.

Of latent attention a product makes one part of each query, RoPE another one: attention reads them where they lie. What is computed of
weights alone for it (sinks, slopes) it computes itself.

They stay apart because rows of one step read each other's keys: the write must be complete first. Writes that nothing in the
graph reads are one region for all layers.
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.ir.opdef import OPS
from hfc.ir.roles import is_elementwise, is_of_own_row, reads_as, roots, writes_cache
from hfc.passes.absorb import Neighbours
from hfc.passes.reductions import grown, stray_reductions, vector_index
from hfc.passes.regroup import regroup


def fuse_attention(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    groups: list[tuple[str, list[Op]]] = []
    written: set[Op] = set()
    for attend in roots(graph.ops, "attend"):
        reads = {attend}
        near.absorb_forward(attend.outputs[0], reads, is_elementwise, set())
        write = near.producers[
            attend.inputs[1]
        ]  # none of its own where it reads what another one, or another graph, wrote
        writes = _with_inputs([write], near) if writes_cache(write) and write not in written else set()
        written.add(write)
        query = _query(attend, near)
        picked = _picked(attend, query, near)
        reads |= picked
        near.absorb_back(attend.inputs[2:], reads, is_elementwise)
        writes |= query - picked
        groups += [("map", list(writes)), ("attend", list(reads))]
    for write in _other_writes(graph, near):
        if write not in written:
            written.add(write)
            groups.append(("map", list(_with_inputs([write], near))))
    return regroup(graph, [*groups, ("map", list(_with_inputs(_lone_writes(graph), near)))])


def _other_writes(graph: Graph, near: Neighbours) -> list[Op]:
    """Writes to caches that ops of other stems read: entries, the keys of a choice."""
    makers = [near.producers.get(cache) for op in graph.ops for cache in reads_as(op, "cache")]
    return [op for op in makers if op is not None and writes_cache(op)]


def _lone_writes(graph: Graph) -> list[Op]:
    """Writes to caches that this graph does not read (a draft does): with what comes before them, all of them together."""
    read = {cache for op in graph.ops for cache in reads_as(op, "cache")}
    return [op for op in graph.ops if writes_cache(op) and op.output not in read]


def _with_inputs(writes: list[Op], near: Neighbours) -> set[Op]:
    """Writes to caches, and what comes before them."""
    written = [v for op in writes for v in op.inputs[1:]]

    def grow(banned: set[Op]) -> set[Op]:
        group = set(writes)
        near.absorb_back(written, group, lambda op: is_of_own_row(op) and op not in banned)
        return group

    return grown(grow, lambda group: stray_reductions(group, [(v, vector_index(v)) for v in written]))


def _picked(attend: Op, query: set[Op], near: Neighbours) -> set[Op]:
    """What attention does of its query itself: a query that is only a view, or is put together of parts of which another region makes
    one. The other parts need not wait for that."""
    picked, stack, others = set[Op](), [attend.inputs[0]], set[Op | None]()
    while stack:
        maker = near.producers.get(stack.pop())
        if maker in query and OPS[maker.kind].selects:
            picked.add(maker)
            stack += maker.inputs
        else:
            others.add(maker)
    return picked if others - query else set()


def _query(attend: Op, near: Neighbours) -> set[Op]:
    """The query's norm and RoPE join the write; a query that is only a view stays with attention."""
    query = attend.inputs[0]

    def grow(banned: set[Op]) -> set[Op]:
        group = {attend}
        near.absorb_back([query], group, lambda op: is_of_own_row(op) and op not in banned)
        return group - {attend}

    return grown(grow, lambda group: stray_reductions(group, [(query, vector_index(query))]))

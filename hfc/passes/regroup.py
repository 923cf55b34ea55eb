"""Turns sets of ops into kernel regions: the one place that moves ops. Keeps SSA order by a topological sort."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from hfc.ir.graph import Graph, Op, Value, region
from hfc.ir.opdef import OPS


def regroup(graph: Graph, groups: Iterable[tuple[str, list[Op]]]) -> Graph:
    """Each (stem, ops) becomes one region; ops may be plain or regions. A set that is not convex is left as it is."""
    wanted = [(stem, ops) for stem, ops in groups if ops]
    dag = dependencies(graph)
    accepted = [(stem, ops) for stem, ops in wanted if is_convex(dag, ops)]
    member = {op: i for i, (_, ops) in enumerate(accepted) for op in ops}
    order, regions = [], {}
    outlive = graph.live_out()
    readers = graph.readers()
    for op in graph.ops:
        if op not in member:
            order.append(op)
            continue
        index = member[op]
        if index not in regions:
            stem, ops = accepted[index]
            members = set(ops)
            regions[index] = _region(stem, [o for o in graph.ops if o in members], readers, outlive)
            order.append(regions[index])
    return sort(graph.with_ops(order))


def _region(stem: str, ops: list[Op], readers: dict[Value, list[Op]], outlive: set[Value]) -> Op:
    inside = set(ops)
    flat = [inner for op in ops for inner in (op.body.ops if op.body else [op])]
    outputs = [v for op in ops for v in op.outputs if v in outlive or _leaves(v, op, readers.get(v, []), inside)]
    return region(flat, outputs, {"stem": stem})


def _leaves(value: Value, maker: Op, readers: list[Op], inside: set[Op]) -> bool:
    """Something outside reads it, or nothing does and its skeleton writes all of its root's results."""
    unread_of_root = not readers and maker.kind in OPS and OPS[maker.kind].stem is not None
    return unread_of_root or any(r not in inside for r in readers)


def dependencies(graph: Graph) -> nx.DiGraph:
    """Ops of this level as nodes with their `position`; an edge from the op that defines a value to each op that reads it."""
    producers = graph.producers()
    dag = nx.DiGraph()
    dag.add_nodes_from((op, {"position": i}) for i, op in enumerate(graph.ops))
    dag.add_edges_from((producers[v], op) for op in graph.ops for v in op.inputs if v in producers)
    return dag


def is_convex(dag: nx.DiGraph, ops: list[Op]) -> bool:
    """No path leaves the set and comes back: fused into one node, the graph stays acyclic."""
    inside, position = set(ops), dag.nodes(data="position")
    last = max(position[op] for op in ops)
    frontier = [n for op in ops for n in dag.successors(op) if n not in inside and position[n] < last]
    seen = set(frontier)
    while frontier:
        for reader in dag.successors(frontier.pop()):
            if reader in inside:
                return False
            if reader not in seen and position[reader] < last:
                seen.add(reader)
                frontier.append(reader)
    return True


def sort(graph: Graph) -> Graph:
    """The ops in dependency order, sources first, else as they stood."""
    rank = {op: (not op.is_source, i) for i, op in enumerate(graph.ops)}
    return graph.with_ops(nx.lexicographical_topological_sort(dependencies(graph), key=rank.__getitem__))

"""Regions that do not read each other share a launch where rows are few: it saves a gap, and none of them fills a card alone.

a = silu(causal_conv(x))     kernel conv
k, v -> rope, the cache      kernel map          ->   kernel beside { conv, map }
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op, Value
from hfc.ir.members import joined
from hfc.ir.roles import exchanges
from hfc.passes.regroup import sort

# Whose kernels leave each other room
STEMS = ("linear", "map", "conv", "recurrence", "route", "attend", "sinkhorn", "pool")
MOST = 4  # regions of a launch: a kernel holds the registers of the greediest and the shared memory of all
REACH = 6  # launches that a region moves up, at most: what it makes needs memory from there on


def join_beside(graph: Graph, settings) -> Graph:
    """Each region in order joins the first launch behind everything that it depends on, if that is near."""
    if not settings.arch.platform.is_gpu:
        return graph
    launches: list[list[Op]] = []
    made: dict[Value, int] = {}  # value -> the launch that makes it
    touched: dict[Value, int] = {}  # state -> the last launch that has it: it is changed in place
    for op in graph.ops:
        if not op.body:
            continue
        states = [v for v in op.inputs if v in graph.updates]
        behind = [made[v] for v in op.inputs if v in made] + [touched[v] for v in states if v in touched]
        first = max(*behind, len(launches) - REACH - 1, -1, -1) + 1
        at = next((n for n in range(first, len(launches)) if _may_join(op, launches[n])), len(launches))
        if at == len(launches):
            launches.append([])
        launches[at].append(op)
        made |= dict.fromkeys(op.outputs, at)
        touched |= dict.fromkeys(states, at)
    return sort(graph.with_ops([*(op for op in graph.ops if not op.body), *map(_joined, launches)]))


def _may_join(op: Op, launch: list[Op]) -> bool:
    return len(launch) < MOST and all(map(_may_share, (op, *launch)))


def _may_share(op: Op) -> bool:
    """It is made for all rows of a step, and no other rank takes part in it."""
    rows = all(v.type.shape[:1] in (("T",), ("S",)) for v in op.outputs)
    return op.attrs["stem"] in STEMS and rows and not any(map(exchanges, op.inner))


def _joined(regions: list[Op]) -> Op:
    return joined("beside", regions, [v for op in regions for v in op.outputs]) if len(regions) > 1 else regions[0]

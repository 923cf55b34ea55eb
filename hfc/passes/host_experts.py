"""Mixtures of experts that the host computes: a region "hosted" in the graph of the card, and the graph of the host's own plan.

    card:  %share, %chosen = route(...);  %y = kernel hosted {expert_linear ... weighted_sum};  add(%x, %y)
    host:  graph(tokens, %x, %share, %chosen) -> %y       for each of them, one after the other

A mixture is everything between the choice of experts and the sum of what they make, with a copy of the norm and the rotation before it:
what crosses is then a value that the card has anyway. Weights of a hosted region belong to the host's plan alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.ir.element import is_row_value
from hfc.ir.graph import Graph, Op, Value, region
from hfc.ir.opdef import OPS
from hfc.ir.roles import is_rotation, of_experts, reduces
from hfc.passes.absorb import Neighbours
from hfc.passes.regroup import dependencies, is_convex, sort
from hfc.passes.settings import Settings

STEM = "hosted"


def host_experts(graph: Graph, settings: Settings | None = None) -> Graph:
    """Of the first Settings.experts.layers mixtures, or all. HfcError where there is none."""
    if settings is None or settings.experts is None:
        return graph
    cut = settings.experts
    mixtures = _mixtures(graph)[: cut.layers]
    if not mixtures:
        raise HfcError(
            f"--experts: {graph.name} has no mixture of experts whose products the host could compute",
            hint="leave --experts out",
        )
    graph, regions = _regions(graph, mixtures)
    return _alone(graph, regions) if cut.is_host else graph


def mixture_bytes(graph: Graph) -> list[int]:
    """Bytes of the experts' weights of each mixture that the host could compute, in the model's order."""
    return [sum(_stored(op) for op in ops if of_experts(op)) for ops in _mixtures(graph)]


def _stored(op: Op) -> int:
    *rows, columns = op.inputs[1].type.sizes()
    return math.prod(rows) * weight_format(op.inputs[1].type.dtype).row_bytes(columns)


def _mixtures(graph: Graph) -> list[list[Op]]:
    """Those that the host could compute, in the model's order."""
    near, place = Neighbours(graph), {op: at for at, op in enumerate(graph.ops)}
    found = (_mixture(op, near, place) for op in graph.ops if _is_last(op))
    return [ops for ops in found if ops]


def _mixture(last: Op, near: Neighbours, place: dict[Op, int]) -> list[Op] | None:
    """The ops of the mixture that ends in `last`, in order; None where it adds up no chosen experts' products."""
    upstream: set[Op] = set()
    stack = [last.inputs[0]]
    while stack:
        op = near.producers.get(stack.pop())
        if op is None or op in upstream or op.is_source or op.body or _ends(op):
            continue
        upstream.add(op)
        stack.extend(op.inputs)
    products = [op for op in upstream if of_experts(op)]
    if not products:
        return None
    group = {last, *_between(upstream, set(products))}
    inputs = [v for op in group for v in op.inputs]
    near.absorb_back(inputs, group, _joins)
    return sorted(group, key=place.__getitem__)


def _ends(op: Op) -> bool:
    """What a mixture depends on, and is no part of it: another root than its products, another mixture."""
    is_root = OPS[op.kind].stem is not None and not is_rotation(op)
    return _is_last(op) or (is_root and not of_experts(op))


def _is_last(op: Op) -> bool:
    """It adds up what the chosen experts gave."""
    return op.kind == "weighted_sum"


def _between(upstream: set[Op], products: set[Op]) -> set[Op]:
    """The ops among them that depend on a product, and the products."""
    made = {v for op in products for v in op.outputs}
    found = set(products)
    grows = True
    while grows:
        more = {op for op in upstream - found if made.intersection(op.inputs)}
        made.update(v for op in more for v in op.outputs)
        found |= more
        grows = bool(more)
    return found


def _joins(op: Op) -> bool:
    """It is read by the mixture alone, and makes no more of what crosses: views, biases by expert, norms."""
    return not op.is_source and (OPS[op.kind].stem is None or is_rotation(op))


def _regions(graph: Graph, mixtures: list[list[Op]]) -> tuple[Graph, list[Op]]:
    """Each mixture as one region, which computes the norm and the rotation of its input itself."""
    producers, dag = graph.producers(), dependencies(graph)
    region_of: dict[Op, Op] = {}
    regions: list[Op] = []
    for number, ops in enumerate(mixtures):
        assert is_convex(dag, ops), f"the mixture that ends in {ops[-1]} depends on itself"
        inside = {v for op in ops for v in op.outputs}
        outputs = list(ops[-1].outputs)
        copies, own = _copied(ops, inside, producers, outputs[0].name)
        made = region([*copies, *(op.rewired(own) for op in ops)], outputs, {"stem": STEM, "number": number})
        regions.append(made)
        region_of |= dict.fromkeys(ops, made)
    order = dict.fromkeys(region_of.get(op, op) for op in graph.ops)
    return sort(_without_unread(graph.with_ops(order))), regions


def _copied(
    ops: Iterable[Op], inside: set[Value], producers: dict[Value, Op], suffix: str
) -> tuple[list[Op], dict[Value, Value]]:
    """Copies of the norms and rotations that make what the ops read, and the values that stand in for theirs."""
    copies: list[Op] = []
    own: dict[Value, Value] = {}

    def copy(value: Value) -> None:
        op = producers.get(value)
        if value in own or value in inside or op is None or op.body or not (reduces(op) or is_rotation(op)):
            return
        for operand in op.inputs:
            copy(operand)
        own[value] = Value(f"{value.name}_{suffix}", value.type)
        copies.append(op.rewired(own))

    for op in ops:
        for value in op.inputs:
            copy(value)
    return copies, own


def _without_unread(graph: Graph) -> Graph:
    """Without the norms and rotations that only mixtures read."""
    outlive, ops = graph.live_out(), []
    read = {v for op in graph.ops for v in op.inputs}
    for op in graph.ops:
        unread = not op.is_source and not op.body and not any(v in read or v in outlive for v in op.outputs)
        if not unread or not (reduces(op) or is_rotation(op)):
            ops.append(op)
    return graph.with_ops(ops)


def _alone(graph: Graph, regions: list[Op]) -> Graph:
    """The host's graph: the bodies, one after the other, on what crosses."""
    read = {v for op in regions for v in op.inputs}
    sources = [op for op in graph.ops if op.is_source and read.intersection(op.outputs)]
    received = dict.fromkeys(v for op in regions for v in op.inputs if is_row_value(v))
    own = [inner for op in regions for inner in op.inner]
    return Graph(
        graph.name, [*graph.inputs[:1], *received], [*sources, *own], [v for op in regions for v in op.outputs], {}
    )

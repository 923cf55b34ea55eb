"""Which layers each stage of a pipeline gets: the slowest stage as fast as can be, none with more than its memory holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.ir.graph import Graph, Op
from hfc.ir.roles import is_lookup, of_experts
from hfc.passes.cut_stages import stage_of_ops
from hfc.passes.stages import Ranges
from hfc.target.arch import Arch

HOST_GB_S = 60  # two channels of DDR5; what a card is for is a multiple of it
GIB = 1 << 30


@dataclass(frozen=True)
class LayerCost:
    """read: bytes of weights that a token reads.  held: bytes of weights, and of state of all slots.  Of the layers, in order, then of
    what follows the last one."""

    read: int
    held: int


@dataclass(frozen=True)
class StagePlace:
    """Where a stage may run. memory: bytes that its weights and state may take, None for any."""

    arch: Arch
    memory: int | None = None

    @property
    def gb_s(self) -> int:
        """Of the memory of the arch's best known product."""
        return max((card.bandwidth_gb_s for card in self.arch.cards), default=HOST_GB_S)


def layer_costs(graph: Graph, layers: int, context: int, slots: int) -> list[LayerCost]:
    """graph: gives out the logits and what follows every layer but the last."""
    stages = stage_of_ops(graph, graph.outputs[-(layers - 1) :])
    makers = graph.producers()
    read, held = [0] * layers, [0] * layers
    counted: set[tuple[Op, int]] = set()
    for op, layer in stages.items():
        for source in _sources(op, makers):
            if source.is_state and (source, layer) not in counted:
                held[layer] += slots * _state_bytes(source, context)
            elif source.is_weight and not is_lookup(op):
                shape, form = source.output.type.sizes(), weight_format(source.output.type.dtype)
                nbytes = math.prod(shape[:-1]) * form.row_bytes(shape[-1])
                read[layer] += int(nbytes * _share(op, shape))
                held[layer] += nbytes if (source, layer) not in counted else 0
            counted.add((source, layer))
    return [LayerCost(r, h) for r, h in zip(read, held)]


def _sources(op: Op, makers) -> list[Op]:
    """Weights and states that an op reads, through arithmetic on them."""
    found, stack = [], [makers.get(value) for value in op.inputs]
    while stack:
        maker = stack.pop()
        if maker is None or maker.is_const:
            continue
        if maker.is_weight or maker.is_state:
            found.append(maker)
        elif maker.inputs and all(value.type.shape[:1] != ("T",) for value in maker.outputs + maker.inputs):
            stack += [makers.get(value) for value in maker.inputs]
    return found


def _share(op: Op, shape: tuple[int, ...]) -> float:
    """Of a mixture of experts, the part that a token chooses."""
    return min(1.0, op.inputs[2].type.size(1) / shape[0]) if of_experts(op) else 1.0


def _state_bytes(source: Op, context: int) -> int:
    """As f16 keys and values, or f32."""
    sizes = [n if isinstance(n, int) else context for n in source.output.type.shape[1:]]
    return math.prod(sizes) * 4  # two planes of two bytes, or one of four


def balanced(costs: Sequence[LayerCost], places: Sequence[StagePlace]) -> Ranges:
    """(first, last) layer of each place. HfcError where the layers do not fit."""
    layers = len(costs)
    if len(places) > layers:
        raise HfcError(f"{len(places)} stages for a model of {layers} layers", hint="name fewer devices")

    @lru_cache(None)
    def best(place: int, first: int) -> tuple[float, tuple[int, ...]]:
        """Seconds of the slowest stage from `place` on, and their last layers."""
        if place == len(places) - 1:
            return _seconds(costs[first:], places[place]), (layers - 1,)
        found: tuple[float, tuple[int, ...]] = (math.inf, ())
        for last in range(first, layers - (len(places) - 1 - place)):
            here = _seconds(costs[first : last + 1], places[place])
            rest, lasts = best(place + 1, last + 1)
            found = min(found, (max(here, rest), (last, *lasts)))
        return found

    seconds, lasts = best(0, 0)
    if seconds == math.inf:
        needed = sum(cost.held for cost in costs) / GIB
        have = ", ".join(f"{p.arch.name} {p.memory / GIB:.1f} GiB" if p.memory else p.arch.name for p in places)
        raise HfcError(
            f"the layers need {needed:.1f} GiB; they do not fit into the stages' memories: {have}",
            hint="more devices, a smaller --ctx, fewer slots or smaller weights",
        )
    return tuple(zip((0, *(last + 1 for last in lasts[:-1])), lasts))


def _seconds(costs: Sequence[LayerCost], place: StagePlace) -> float:
    if place.memory is not None and sum(cost.held for cost in costs) > place.memory:
        return math.inf
    return sum(cost.read for cost in costs) / place.gb_s / 1e9

"""--stages auto: the layers of each stage of a pipeline, by where the stages run."""

from __future__ import annotations

from collections.abc import Sequence

from hfc.compiler import DEFAULT_CONTEXT, CompileOptions, CompilerInput
from hfc.passes.balance import StagePlace, balanced, layer_costs
from hfc.passes.stages import Ranges


def auto_stages(opened: CompilerInput, places: Sequence[StagePlace], options: CompileOptions) -> Ranges:
    """Layers for stages that run in these places: see passes.balance."""
    layers = opened.settings["layers"]
    ends = tuple(f"hidden[{i}]" for i in range(layers - 1))
    graph = opened.pair(ends).target if opened.draft else opened.graph(ends)
    context = options.ctx or min(DEFAULT_CONTEXT, opened.context_limit)
    return balanced(layer_costs(graph, layers, context, options.slots), places)

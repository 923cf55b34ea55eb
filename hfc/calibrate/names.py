"""Which tensors of a checkpoint a graph's linears multiply with, and what GGUF calls them."""

from __future__ import annotations

import re

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.compiler import CompilerInput
from hfc.formats.recipe import Recipe
from hfc.frontend.weights import WeightTable
from hfc.ir.graph import Graph, Op
from hfc.ir.roles import is_product

MOVES_ROWS = (
    "tensor",
    "rows",
    "every",
    "stack",
    "half_split",
    "by_head",
)  # recipes that leave the inputs of a weight as they are
LAYER = re.compile(r"layers\.(\d+)\.(\w+)")


@dataclass(frozen=True)
class Linear:
    """op: of the graph.  tensors: of the checkpoint, one or, with a tensor for each expert, as many.  name: of the GGUF tensor.

    order: where inputs of the GGUF weight stand in this one, int [K]; None: alike."""

    op: Op
    tensors: tuple[str, ...]
    name: str
    order: np.ndarray | None = None


def linears(source: CompilerInput, graph: Graph) -> list[Linear]:
    """Those whose weights are tensors of the checkpoint, with their rows moved at most, in the order of the graph."""
    makers = {op.output: op for op in graph.ops_of("weight")}
    gguf = _gguf_recipes(source) if source.kind == "hf" else None
    found = []
    for op in filter(is_product, graph.walk()):
        weight = makers[op.inputs[1]]
        recipe = weight.attrs["recipe"]
        if not moves_rows_only(recipe):
            continue
        theirs = gguf(weight) if gguf else recipe
        if theirs is not None:
            order = _head_order(graph, op) if gguf else None
            found.append(Linear(op, tuple(dict.fromkeys(recipe.tensors())), theirs.tensors()[0], order))
    return found


def moves_rows_only(recipe: Recipe) -> bool:
    return recipe.op in MOVES_ROWS and all(map(moves_rows_only, recipe.args))


def _gguf_recipes(source: CompilerInput):
    """Weight op -> its recipe from a GGUF of the same model, None where there is none."""
    table = WeightTable(
        source.model.syntax, source.model.settings(source.config, "hf", source.checkpoint), "gguf", None, "f32"
    )

    def recipe_of(weight: Op) -> Recipe | None:
        match = LAYER.fullmatch(weight.attrs["name"])
        name, layer = (match[2], int(match[1])) if match else (weight.attrs["name"], None)
        found = table.resolve(name, layer, weight.span)
        return found.recipe if found and moves_rows_only(found.recipe) else None

    return recipe_of


def _head_order(graph: Graph, op: Op) -> np.ndarray | None:
    """GGUF interleaves the value heads of gated DeltaNet by key head, so that what reads them has other inputs."""
    producers = {value: o for o in graph.walk() for value in o.outputs}
    stack, seen = [op.inputs[0]], set()
    while stack:
        maker = producers.get(stack.pop())
        if maker is None or maker in seen:
            continue
        seen.add(maker)
        if maker.kind == "linear_recurrence":
            if maker.attrs["tiled"] or not maker.attrs["delta"]:
                return None
            key_heads, (value_heads, dv) = maker.inputs[0].type.shape[1], maker.inputs[2].type.shape[1:]
            return (
                np.arange(value_heads * dv)
                .reshape(key_heads, value_heads // key_heads, dv)
                .transpose(1, 0, 2)
                .reshape(-1)
            )
        if not is_product(maker) and maker.outputs[0].type.shape[0] == "T":
            stack += maker.inputs
    return None

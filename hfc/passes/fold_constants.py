"""Arithmetic on weights or constants alone becomes part of their recipe: 1 + w norms, -exp(A_log)."""

from __future__ import annotations

from hfc.formats.recipe import Recipe
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import OPS


def fold_constants(graph: Graph, _settings=None) -> Graph:
    weights = {op.output: op for op in graph.ops if op.is_weight or op.is_const}
    replaced: dict[Value, Value] = {}
    ops = []
    for op in (op.rewired(replaced) for op in graph.ops):
        recipe_op = OPS[op.kind].fold
        if recipe_op and op.inputs[0] in weights:
            folded = _fold(op, recipe_op, weights[op.inputs[0]])
            weights[folded.output] = folded
            replaced[op.output] = folded.output
            ops.append(folded)
        else:
            ops.append(op)
    used = {v for op in ops for v in op.inputs} | graph.live_out()
    return graph.with_ops(op for op in ops if not (op.is_weight or op.is_const) or op.output in used)


def _fold(op: Op, recipe_op: str, weight: Op) -> Op:
    params = (("c", op.attrs["by"]),) if "by" in op.attrs else ()
    recipe = Recipe(recipe_op, (weight.attrs["recipe"],), params)
    word = "_".join([op.kind, *(str(v) for _, v in params)])
    result = Value(op.output.name, TensorType("f32", op.output.type.shape))
    name = {"name": f"{weight.attrs['name']}.{word}"} if weight.is_weight else {}
    return Op(weight.kind, (), (result,), {**name, "recipe": recipe}, span=op.span)

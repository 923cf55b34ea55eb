"""Weights that are read element by element (norms, gates, convolution taps) become f32 when they are loaded.

They are thousands of times smaller than the matrices; one loader less in every kernel.
"""

from __future__ import annotations

from hfc.ir.graph import Graph, Op, TensorType, Value

MATRIX_OPERANDS = {"linear": (1,), "expert_linear": (1,), "gather": (0,), "select_candidates": (3, 4)}


def widen_vectors(graph: Graph, _settings=None) -> Graph:
    matrices = {op.inputs[at] for op in graph.ops for at in MATRIX_OPERANDS.get(op.kind, ())}
    wide: dict[Value, Value] = {}
    ops = []
    for op in graph.ops:
        if op.kind == "weight" and op.output not in matrices:
            wide[op.output] = Value(op.output.name, TensorType("f32", op.output.type.shape))
            ops.append(Op(op.kind, (), (wide[op.output],), op.attrs, span=op.span))
        else:
            ops.append(Op(op.kind, tuple(wide.get(v, v) for v in op.inputs), op.outputs, op.attrs, op.body, op.span))
    return graph.with_ops(ops)

"""Weights that are read element by element (norms, gates, convolution taps) become f32 when they are loaded.

They are thousands of times smaller than the matrices; one loader less in every kernel.
"""

from __future__ import annotations

from hfc.ir.graph import Graph, TensorType, Value
from hfc.ir.opdef import OPS, STORED


def widen_vectors(graph: Graph, _settings=None) -> Graph:
    stored = {v for op in graph.ops for v, way in zip(op.inputs, OPS[op.kind].reads) if way in STORED}
    wide = {
        op.output: Value(op.output.name, TensorType("f32", op.output.type.shape))
        for op in graph.ops
        if op.is_weight and op.output not in stored
    }
    return graph.with_ops(op.rewired(wide) for op in graph.ops)

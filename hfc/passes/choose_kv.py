"""Gives every KV cache its formats."""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.passes.settings import Settings


def choose_kv(graph: Graph, settings: Settings) -> Graph:
    formats = {"k_format": settings.k_format, "v_format": settings.v_format}

    def chosen(op: Op) -> Op:
        is_cache = op.kind == "state" and op.output.type.dtype == "kv"
        return Op(op.kind, op.inputs, op.outputs, {**op.attrs, **formats}, span=op.span) if is_cache else op

    return graph.with_ops(map(chosen, graph.ops))

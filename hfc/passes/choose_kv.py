"""Gives every KV cache its formats."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.ir.graph import Graph, Op
from hfc.passes.settings import EDGE_FORMAT, Settings

DRAFT = "draft."  # what the names of a draft's states begin with, also where the target's graph fills them


def choose_kv(graph: Graph, settings: Settings) -> Graph:
    caches = [op for op in graph.ops if op.is_state and op.output.type.dtype == "kv"]
    own = [op for op in caches if not op.attrs["name"].startswith(DRAFT)]
    first, last = settings.kv_edges
    if first + last and first + last >= len(own):
        raise HfcError(
            f"--kv …@{first}+{last}: the model has {len(own)} attention layers",
            hint=f"name fewer, or --kv {EDGE_FORMAT} for all",
        )
    edges = {*own[:first], *own[len(own) - last :]}

    def chosen(op: Op) -> Op:
        if op not in caches:
            return op
        k_format, v_format = (EDGE_FORMAT, EDGE_FORMAT) if op in edges else (settings.k_format, settings.v_format)
        return op.with_attrs(k_format=k_format, v_format=v_format)

    return graph.with_ops(map(chosen, graph.ops))

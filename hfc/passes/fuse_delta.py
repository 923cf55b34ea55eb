"""conv + SiLU + split + L2 norm + gates -> gated delta -> gated norm: one region, so that nothing between them meets memory."""

from __future__ import annotations

from hfc.ir.graph import Graph, Op
from hfc.passes.absorb import Neighbours, is_elementwise, is_view_or_elementwise
from hfc.passes.regroup import regroup


def fuse_delta(graph: Graph, _settings=None) -> Graph:
    near = Neighbours(graph)
    groups: list[tuple[str, list[Op]]] = []
    for delta in graph.ops:
        if delta.kind != "gated_delta":
            continue
        group = {delta}
        near.absorb_back(delta.inputs[:5], group, _before)
        near.absorb_forward(delta.outputs[0], group, lambda op: is_elementwise(op) or op.kind == "rms_norm", set())
        groups.append(("delta", list(group)))
    return regroup(graph, groups)


def _before(op: Op) -> bool:
    return is_view_or_elementwise(op) or op.kind in ("l2_norm", "causal_conv")

"""Graphs around one linear recurrence each: Mamba-2's, the delta rule's with a decay for each key channel, and awkward ones."""

from __future__ import annotations

import numpy as np
from random_maker import Store

from hfc.formats import weight_format
from hfc.formats.recipe import tensor
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import Graph, TensorType, Value

VOCAB = 40
CASES = {
    "mamba": {"k_heads": 1, "v_heads": 4, "dk": 128, "dv": 64, "delta": False, "vector": False, "norm": False},
    "kda": {"k_heads": 2, "v_heads": 2, "dk": 64, "dv": 32, "delta": True, "vector": True, "norm": True},
    "tiled": {"k_heads": 2, "v_heads": 6, "dk": 24, "dv": 40, "delta": True, "vector": False, "norm": True, "tiled": True},
    "odd": {"k_heads": 1, "v_heads": 2, "dk": 9, "dv": 5, "delta": False, "vector": True, "norm": True},
    "wide": {"k_heads": 1, "v_heads": 1, "dk": 72, "dv": 300, "delta": False, "vector": False, "norm": False},
}  # fmt: skip


def recurrence_net(
    k_heads: int, v_heads: int, dk: int, dv: int, delta: bool, vector: bool, norm: bool, tiled: bool = False
) -> Graph:
    """norm: q and k are normed, and the output of each head; else it has Mamba-2's skip term and a gate."""
    b = GraphBuilder("recurrence")
    tokens = b.input("tokens", "i32", ("T",))

    def weight(name: str, *shape: int) -> Value:
        return b.weight(name, "f32", shape, tensor(name))

    def heads(name: str, *shape: int) -> Value:
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        return b.op("reshape", b.op("gather", weight(name, VOCAB, size), tokens), shape=shape)

    memory = b.state("memory", TensorType("f32", ("S", v_heads, dk, dv)))
    q, k, v = heads("q", k_heads, dk), heads("k", k_heads, dk), heads("v", v_heads, dv)
    if norm or delta:
        q, k = (b.op("l2_norm", x, eps=1e-6) for x in (q, k))
    decay = b.op("neg", b.op("softplus", heads("a", v_heads, dk) if vector else heads("a", v_heads)))
    beta = b.op("sigmoid", heads("b", v_heads))
    y = b.op("linear_recurrence", q, k, v, decay, beta, memory, delta=delta, tiled=tiled)[0]
    if norm:
        y = b.op("rms_norm", y, weight("norm", dv), eps=1e-6)
    else:
        y = b.op("add", y, b.op("mul", v, weight("skip", v_heads, 1)))
        y = b.op("mul", y, b.op("silu", heads("z", v_heads, dv)))
    y = b.op("reshape", y, shape=(v_heads * dv,))
    return b.finish(b.op("linear", y, weight("head", VOCAB, v_heads * dv)))


def random_store(graph: Graph) -> Store:
    """A checkpoint with the graph's weights."""
    rng, store = np.random.default_rng(3), Store()
    for op in graph.ops_of("weight"):
        values = rng.standard_normal(op.output.type.sizes()).astype(np.float32)
        store.tensors[op.attrs["name"]] = "f32", values.shape, weight_format("f32").pack(values)
    return store

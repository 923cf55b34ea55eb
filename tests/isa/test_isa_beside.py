"""L3 of regions side by side, by machine code: products of several formats, a convolution, a cache write, a router in one launch.

Odd sizes, one row and sixteen, prompts (one region by one there); what no kernel wrote is NaN.
"""

import pytest
from regions import VOCAB, Builder, Region, steps_at

from hfc.formats.recipe import apply
from hfc.ir.graph import Graph, TensorType, Value

ARCHS = ("gfx906", "gfx1100", "gfx1201", "gfx1030", "gfx942")


def mixers(formats: tuple[str, str]) -> Graph:
    """A convolution, two products with inputs of their own and the write of a cache, all of one input's projections."""
    b = Builder()
    x = b.vectors("embed", 64)
    u, low, narrow = (
        b.op("linear", x, b.matrix(name, "f32", n, 64)) for name, n in (("u", 37), ("low", 64), ("narrow", 96))
    )
    window = b.state("window", TensorType("f32", ("S", 37, 3)))
    made, kept = b.op("causal_conv", u, b.matrix("taps", "f32", 37, 4), window)
    pair = (
        b.op("linear", low, b.matrix("wide", formats[0], 35, 64)),
        b.op("linear", narrow, b.matrix("wider", formats[1], 129, 96)),
    )
    y, kv = attended(b, x, cache=b.state("kv", TensorType("kv", ("S", 2, "C", 32))))
    return head(b, b.op("concat", b.op("silu", made), y), *pair)


def attended(b: Builder, x: Value, cache: Value) -> tuple[Value, Value]:
    """Two heads of 32, rotary positions and a norm of keys."""
    q, k = (b.op("reshape", b.op("linear", x, b.matrix(name, "f32", 64, 64)), shape=(2, 32)) for name in ("q", "k"))
    angles = b.const(apply("rope_table", rotary=16, theta=1e4), ("C", 16))
    kv = b.op("kv_append", cache, b.op("rope", b.op("rms_norm", k, eps=1e-6), angles), k)
    return b.op("reshape", b.op("attend", b.op("rope", q, angles), kv, scale=0.2), shape=(64,)), kv


def attention_beside(format: str) -> Graph:
    """Attention, whose blocks go by the context, beside the product behind a convolution."""
    b = Builder()
    x = b.vectors("embed", 64)
    window = b.state("window", TensorType("f32", ("S", 64, 3)))
    u = b.op("linear", x, b.matrix("u", "f32", 64, 64))
    made, kept = b.op("causal_conv", u, b.matrix("taps", "f32", 64, 4), window)
    y, kv = attended(b, x, cache=b.state("kv", TensorType("kv", ("S", 2, "C", 32))))
    return head(b, b.op("linear", b.op("silu", made), b.matrix("wide", format, 35, 64)), y)


def latent(format: str) -> Graph:
    """Queries of latent attention: a product of each head's own makes one part, beside RoPE of the other and the write of the cache."""
    b = Builder()
    heads, nope, rotary, rank = 3, 32, 8, 24
    x = b.vectors("embed", 64)
    q = b.op(
        "reshape", b.op("linear", x, b.matrix("q", "f32", heads * (nope + rotary), 64)), shape=(heads, nope + rotary)
    )
    own, turned = b.op("split", q, sizes=(nope, rotary))
    angles = b.const(apply("rope_table", rotary=rotary, theta=1e4), ("C", rotary))
    own = b.op(
        "expert_linear", own, b.matrix("k_up", format, heads, rank, nope), b.op("numbers", b.tokens, count=heads)
    )
    row = b.op(
        "reshape",
        b.op("rms_norm", b.op("linear", x, b.matrix("kv", "f32", rank + rotary, 64)), eps=1e-6),
        shape=(1, rank + rotary),
    )
    cache = b.state("kv", TensorType("kv", ("S", 1, "C", rank + rotary)))
    kv = b.op("kv_append", cache, row, row)
    y = b.op("attend", b.op("concat", own, b.op("rope", turned, angles)), kv, scale=0.2)
    return head(b, b.op("reshape", y, shape=(heads * (rank + rotary),)))


def choice(format: str) -> Graph:
    """The second product of an MLP beside the choice of experts."""
    b = Builder()
    x = b.vectors("embed", 64)
    h = b.op("silu", b.op("linear", x, b.matrix("up", format, 96, 64)))
    shares, ids = b.op("route", b.op("linear", x, b.matrix("router", "f32", 5, 64)), top=2, normalize=True)
    chosen = b.op("expert_linear", x, b.matrix("chosen", "f16", 5, 33, 64), ids)
    return head(
        b, b.op("concat", b.op("linear", h, b.matrix("down", format, 67, 96)), b.op("weighted_sum", chosen, shares))
    )


def head(b: Builder, *values: Value) -> Graph:
    y = values[0]
    for other in values[1:]:
        y = b.op("concat", y, other)
    return b.finish(b.op("linear", y, b.matrix("head", "f32", VOCAB, y.type.shape[-1])))


GRAPHS = {
    "mixers, small blocks": (lambda: mixers(("q8_0", "q4_0")), ["conv", "linear", "linear", "map"]),
    "mixers, plain": (lambda: mixers(("f16", "bf16")), ["conv", "linear", "linear", "map"]),
    "attention beside a product": (lambda: attention_beside("q8_0"), ["attend", "linear"]),
    "queries of latent attention": (lambda: latent("q8_0"), ["linear", "map"]),
    "choice of experts": (lambda: choice("q5_1"), ["linear", "route"]),
}
ORDINARY = {
    ("mixers, small blocks", "gfx1100"),
    ("queries of latent attention", "gfx906"),
    ("attention beside a product", "gfx1100"),
    ("choice of experts", "gfx1201"),
}
PAIRS = [
    pytest.param(name, arch, marks=() if (name, arch) in ORDINARY else pytest.mark.long)
    for name in GRAPHS
    for arch in ARCHS
]


@pytest.mark.parametrize("name, arch", PAIRS)
def test_regions_beside_each_other(name, arch):
    graph, members = GRAPHS[name]
    subject = Region(graph(), arch, context=1200)
    assert members in [sorted(op.attrs.get("members", ())) for op in subject.graph.ops]
    checked = subject.check(steps_at(3, 700, 1100))
    assert any("beside" in c.kernel for c in checked if c.program == "decode"), [c.kernel for c in checked]
    assert not any("beside" in c.kernel for c in checked if c.program == "prefill")
    wrong = [c for c in checked if not c.ok]
    assert not wrong, wrong
    assert not list(subject.rows_that_differ("beside", position=3))

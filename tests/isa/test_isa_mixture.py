"""L3 of mixtures of experts: choice, chosen experts, the shared one and their sum in three launches, by machine code.

Odd sizes, one row and sixteen, many of prefill (one region by one there); what no kernel wrote is NaN.
"""

from dataclasses import dataclass

import pytest
from regions import VOCAB, Builder, Region

from hfc.ir.graph import Graph, Value

ARCHS = ("gfx906", "gfx1010", "gfx1030", "gfx1100", "gfx1201", "gfx942")


@dataclass(frozen=True)
class Mixture:
    """formats: of the first and the second products, then those of the shared expert.  sizes: K, those of experts and shared expert, N.

    biased: every product of an expert has a bias.  gated: the shared expert counts by a product of its own.  route: as the op is told."""

    formats: tuple[str, ...]
    sizes: tuple[int, int, int, int]
    experts: int = 5
    top: int = 2
    biased: bool = False
    gated: bool = False
    zipped: bool = True
    route: tuple[tuple[str, object], ...] = ()

    def graph(self) -> Graph:
        b = Builder()
        k, own, whole, n = self.sizes
        embedded = b.vectors("embed", k)
        x = b.normed(embedded)
        bias = [b.matrix("choice", "f32", self.experts)] if dict(self.route).get("score") == "sigmoid" else []
        shares, ids = b.op(
            "route",
            b.op("linear", x, b.matrix("router", "f32", self.experts, k)),
            *bias,
            top=self.top,
            **dict(self.route),
        )
        h = self.middle(*(self.chosen(b, x, ids, name, own) for name in ("gate", "up")[not self.zipped :]), b)
        y = b.op("weighted_sum", self.chosen(b, h, ids, "down", n), shares)
        if whole:
            pair = (
                b.op("linear", x, b.matrix(f"shared_{name}", self.formats[2], whole, k))
                for name in ("gate", "up")[not self.zipped :]
            )
            shared = b.op("linear", self.middle(*pair, b), b.matrix("shared_down", self.formats[3], n, whole))
            if self.gated:
                shared = b.op(
                    "mul", b.op("sigmoid", b.op("linear", x, b.matrix("gate_of_shared", "f32", 1, k))), shared
                )
            y = b.op("add", y, shared)
        y = b.op("add", b.vectors("other", n), y)
        return b.finish(b.op("linear", y, b.matrix("head", "f32", VOCAB, n)))

    def chosen(self, b: Builder, x: Value, ids: Value, name: str, n: int) -> Value:
        form = self.formats[name == "down"]
        y = b.op("expert_linear", x, b.matrix(name, form, self.experts, n, x.type.shape[-1]), ids)
        return (
            b.op("add", y, b.op("gather", b.matrix(f"{name}_bias", "f32", self.experts, n), ids)) if self.biased else y
        )

    def middle(self, *products) -> Value:
        *values, b = products
        if self.zipped:
            return b.op("mul", b.op("silu", values[0]), values[1])
        h = b.op("relu", values[0])
        return b.op("mul", h, h)


MIXTURES = {
    "blocks of 32, a larger shared expert with a gate": Mixture(("q4_0",) * 4, (96, 96, 192, 37), gated=True),
    "rotated, a shared expert of equal size": Mixture(("mq4g256",) * 4, (256, 512, 512, 67), top=3, gated=True),
    "k-quants of several kinds": Mixture(("q4_k", "q6_k", "q4_k", "q8_0"), (512, 256, 256, 33), experts=9, top=4),
    "biases, no shared expert": Mixture(("mxfp4b32", "mxfp4b32"), (160, 96, 0, 41), biased=True),
    "one product in front of the second": Mixture(("q5_1", "q8_0", "q8_0", "q4_1"), (64, 32, 64, 5), zipped=False, experts=3, top=1),
    "shares of what is left": Mixture(
        ("q8_0", "q4_0"), (64, 96, 0, 35), experts=7, top=3, route=(("score", "sparsemixer"), ("normalize", False), ("jitter", 0.3)),
    ),
    "groups of experts, scores with a bias": Mixture(
        ("iq4_nl", "q5_0", "iq4_nl", "q5_0"), (64, 64, 64, 35), experts=12, top=5,
        route=(("score", "sigmoid"), ("groups", 4), ("top_groups", 2), ("group_best", 2), ("scale", 2.5), ("eps", 1e-20)),
    ),
}  # fmt: skip


# Compiling and running one takes 4 to 8 s: of all pairs two in the ordinary run.
ORDINARY = {
    ("groups of experts, scores with a bias", "gfx906"),
}
PAIRS = [
    pytest.param(name, arch, marks=() if (name, arch) in ORDINARY else pytest.mark.long)
    for name in MIXTURES
    for arch in ARCHS
]


@pytest.mark.parametrize("name, arch", PAIRS)
def test_mixtures(name, arch):
    subject = Region(MIXTURES[name].graph(), arch)
    checked = subject.check()
    joined = [c for c in checked if "mixture" in c.kernel and c.program == "decode"]
    assert joined if arch != "gfx1010" else not joined, "integer dot products are what it takes"
    wrong = [c for c in checked if not c.ok]
    assert not wrong, wrong
    assert not list(subject.rows_that_differ("mixture", position=3))

"""L3 of joined products of which only later ones read memory in their epilogues, which is read before the K loop: by machine code."""

import pytest
from regions import VOCAB, Builder, Region

from hfc.ir.graph import Graph


def later(format: str) -> Graph:
    """Three products of one input, of which the second and third alone add something: a bias, and a stream."""
    b = Builder()
    x = b.vectors("embed", 64)
    h = b.op("layer_norm", x, eps=1e-5)
    plain, biased, added = (
        b.op("linear", h, b.matrix(name, format, n, 64)) for name, n in (("p", 48), ("b", 96), ("a", 64))
    )
    biased = b.op("gelu_tanh", b.op("add", biased, b.matrix("bias", "f32", 96)))
    y = b.op("concat", b.op("concat", plain, biased), b.op("add", added, x))
    return b.finish(b.op("linear", y, b.matrix("head", "f32", VOCAB, 208)))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("format", ("bf16", "q8_0", "q4_0"))
@pytest.mark.parametrize("arch", ("gfx1201", "gfx942", "gfx1100", "gfx906"))
def test_later_products_read_their_own_biases(format, arch):
    """Of joined products the first that reads was taken for the first of all: Phi on RDNA 4 and NVIDIA cards added no bias."""
    wrong = [c for c in Region(later(format), arch).check() if not c.ok]
    assert not wrong, wrong

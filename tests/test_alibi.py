"""ALiBi: slopes of heads as transformers has them, and attention whose vectors are computed of weights and constants alone."""

import numpy as np
import pytest
from random_maker import Maker
from random_runs import compare

from hfc.formats.checkpoint.rope import alibi_slopes
from hfc.formats.recipe import apply
from hfc.ir.graph import TensorType
from hfc.passes.fold_constants import fold_constants

# exponents to base 2 of transformers 5.24: build_alibi_tensor of BLOOM and build_mpt_alibi_tensor, which agree for 1 to 130 heads
EXPONENTS = {
    1: [8],
    4: [2, 4, 6, 8],
    6: [2, 4, 6, 8, 1, 3],
    12: [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5],
}


@pytest.mark.parametrize("heads", EXPONENTS)
def test_slopes(heads):
    exponents = np.array(EXPONENTS[heads])
    np.testing.assert_allclose(alibi_slopes(heads, 8), 2.0**-exponents, rtol=1e-6)
    np.testing.assert_allclose(alibi_slopes(heads, 16), 2.0 ** (-2 * exponents), rtol=1e-6)


def test_slopes_in_bf16():
    """Falcon's: 2 ** -0.5 has the eight bits 0.70703125."""
    assert alibi_slopes(12, 8, True)[8] == np.float32(0.70703125)


@pytest.mark.parametrize("device", ("host", "gfx1100"))
def test_vectors_that_are_computed(device):
    """Slopes of a constant times a number, sinks that are the product of two weights: attention computes them itself."""
    m = Maker(3)
    q, k, v = m.fresh(6, 16), m.fresh(2, 16), m.fresh(2, 16)
    kv = m.op("kv_append", m.state(TensorType("kv", ("S", 2, "C", 16))), k, v)
    slopes = m.builder.const(apply("repeat", rows=1, values=tuple(alibi_slopes(6, 8).tolist())), (6,))
    m.env[slopes] = alibi_slopes(6, 8)
    sinks = m.op("mul", m.vector(6), m.vector(6))
    m.op("attend", q, kv, sinks, m.op("scale", slopes, by=0.25), scale=0.25)
    graph, taps = m.finish()
    assert not [op for op in fold_constants(graph).ops if op.kind == "scale" and op.inputs[0] is slopes]
    compare("computed vectors", graph, m.store, taps, device)

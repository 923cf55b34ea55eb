"""The choice of tokens as machine code: what the host's sampler chooses, under biases, masks and penalties too."""

import pytest
from regions import Builder, Region

from hfc.selftest.sampling import check_sampling

ARCHS = ("gfx906", "gfx1030", "gfx1100", "gfx1201", "gfx942")
QWEN = 248320  # tokens of Qwen 3.5
LONG = 32 * 512 + 600  # a thread's logits are read 32 at a time, and then one by one


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "vocab, arch",
    [
        *((vocab, arch) for vocab in (96, 1003) for arch in ARCHS),
        (LONG, "gfx1100"),
        pytest.param(QWEN, "gfx1100", marks=pytest.mark.long),
    ],
)
def test_a_device_chooses_as_the_host_does(vocab, arch):
    b = Builder()
    region = Region(b.finish(b.op("linear", b.vectors("embed", 32), b.matrix("head", "f32", vocab, 32))), arch)
    assert region.plan.vocab == vocab
    assert check_sampling(region.plan, region.launcher).error == 0


@pytest.mark.parametrize("arch", ["gfx906", "gfx908", "gfx1010", "gfx1100"])
def test_a_large_vocabulary_keeps_every_gate(arch):
    """Registers and LDS of the kernel do not depend on how many tokens there are, but what the compiler makes of its loops does."""
    b = Builder()
    region = Region(b.finish(b.op("linear", b.vectors("embed", 32), b.matrix("head", "f32", 151936, 32))), arch)
    assert any(kernel.symbol == "sample_v151936" for kernel in region.plan.kernels)

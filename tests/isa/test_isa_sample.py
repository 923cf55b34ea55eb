"""The choice of tokens as machine code: what the host's sampler chooses, under biases, masks and penalties too."""

import pytest
from regions import Builder, Region

from hfc.selftest.sampling import check_sampling


@pytest.mark.sampled(4)
@pytest.mark.parametrize("arch", ["gfx906", "gfx1030", "gfx1100", "gfx1201", "gfx942"])
@pytest.mark.parametrize("vocab", [96, 1003])
def test_a_device_chooses_as_the_host_does(arch, vocab):
    b = Builder()
    region = Region(b.finish(b.op("linear", b.vectors("embed", 32), b.matrix("head", "f32", vocab, 32))), arch)
    assert region.plan.vocab == vocab
    assert check_sampling(region.plan, region.launcher).error == 0

"""L3 of maps whose vectors a whole block makes: two norms one after the other, rows of odd sizes, by machine code."""

import pytest
from regions import VOCAB, Builder, Region

ARCHS = ("gfx906", "gfx1010", "gfx1100", "gfx1201", "gfx942")
ORDINARY = {(1030, "gfx906"), (2562, "gfx1100")}
PAIRS = [
    pytest.param(size, arch, marks=() if (size, arch) in ORDINARY else pytest.mark.long)
    for size in (1030, 2562)
    for arch in ARCHS
]


@pytest.mark.parametrize("size, arch", PAIRS)
def test_norms_of_long_rows(size, arch):
    b = Builder()
    x, y = (b.vectors(name, size) for name in ("x", "y"))
    total = b.op("add", x, b.op("rms_norm", y, eps=1e-6))
    total = b.op("add", x, b.op("rms_norm", total, eps=1e-6))
    subject = Region(b.finish(b.op("linear", total, b.matrix("head", "f32", VOCAB, size))), arch)
    checked = [c for c in subject.check() if c.kernel.startswith("map")]
    assert checked and all(c.ok and c.deviation.error < 1e-6 for c in checked), checked

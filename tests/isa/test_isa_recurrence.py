"""Linear recurrences of every kind as gfx machine code: beside the interpreter, and whatever way a prompt is cut.

Scratch, outputs and what lies behind the rows start as NaN.
"""

import numpy as np
import pytest
from recurrences import CASES, recurrence_net
from regions import Region
from test_isa_delta import Cut

ARCHS = ("gfx906", "gfx1100", "gfx1201", "gfx942")
BOUND = 2e-5  # relative L2; the arithmetic is f32 throughout


def pairs() -> list:
    found = [(i + j, shape, arch) for i, shape in enumerate(CASES) for j, arch in enumerate(ARCHS)]
    kept = {("mamba", "gfx1100"), ("kda", "gfx906")}
    return [pytest.param(s, a, marks=() if (s, a) in kept else pytest.mark.long) for _, s, a in found]


@pytest.mark.parametrize("case, arch", pairs())
def test_long_segments_beside_short_ones(case, arch):
    subject = Region(recurrence_net(**CASES[case]), arch, slots=4, context=256)
    found = [c for c in subject.check() if c.kernel.startswith("recurrence")]
    assert found and not [c for c in found if not (c.ok and c.deviation.error <= BOUND)]


@pytest.mark.long
@pytest.mark.parametrize("case, arch", pairs())
def test_bits_do_not_depend_on_how_a_prompt_is_cut(case, arch):
    subject = Cut(Region(recurrence_net(**CASES[case]), arch, slots=2, context=256), "recurrence")
    whole = subject.run([45])
    for parts in ([17, 28], [1, 30, 14]):
        for name, content in subject.run(parts).items():
            assert np.array_equal(content, whole[name]), (parts, name)

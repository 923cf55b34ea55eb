"""L3 of attention: decode and prefill kernels as gfx machine code against the interpreter."""

import numpy as np
import pytest
from attention import Attention, error, step_of

from hfc.isa import SCHEDULES

ARCHS = ("gfx906", "gfx1030", "gfx1100", "gfx1201", "gfx942")
DECODE_BOUND, PREFILL_BOUND = 2e-6, 1e-3


@pytest.mark.parametrize("window", (0, 7))
@pytest.mark.parametrize("arch", ARCHS)
def test_rows_that_see_their_whole_segment(arch, window):
    """Keys behind the segment are NaN."""
    case = Attention(arch, 40, window=window, causal=False)
    for step, rows_class, bound in ((step_of((9, 31), (1, 3), (6, 0)), "decode", DECODE_BOUND), (step_of((20, 20), (11, 0)), "prefill", PREFILL_BOUND)):
        assert error(case.run(step, rows_class), case.expected(step)) < bound

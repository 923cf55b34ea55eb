"""Machine code of attention over entries: made, chosen and read, in every KV format, at odd shapes and behind long contexts."""

import pytest
from regions import Region, entries, steps_at

from hfc.formats import KV_FORMATS

ARCHS = ("gfx1100", "gfx906")
STEMS = ("pool", "choose", "entries")
# heads, their size, window, tokens of a run, runs, chosen, heads that ask and their size
SHAPES = {
    "heads of their own": ((13, 40, 3, 2, 1, 4, 3, 16), 48, (5, 47)),
    "v4 in small": ((6, 64, 5, 3, 2, 4, 5, 32), 64, (0, 7, 63)),
    "one key head of 576 for 3": ((3, 576, 4, 2, 1, 3, 3, 40), 48, (3, 47)),
    "all entries": ((5, 40, 3, 4, 1), 64, (2, 3, 63)),
    "more than a block scores": ((2, 16, 2, 1, 1, 70, 2, 136), 700, (69, 70, 699)),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_launch_agrees_with_the_interpreter(name, arch):
    shape, context, positions = SHAPES[name]
    region = Region(entries(*shape), arch, "f32", context, max_rows=32)
    found = [check for check in region.check(steps_at(*positions)) if check.kernel.startswith(STEMS)]
    assert len(found) >= (3 if len(shape) > 5 else 2) and all(check.ok for check in found), found


@pytest.mark.sampled(4)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("format", sorted({form.default_v and name or name for name, form in KV_FORMATS.items()}))
def test_every_kv_format(format, arch):
    region = Region(entries(4, 64, 5, 3, 2, 4, 5, 64), arch, format, max_rows=32)
    found = [check for check in region.check(steps_at(0, 11, 63)) if check.kernel.startswith(STEMS)]
    assert len(found) >= 3 and all(check.ok for check in found), found


@pytest.mark.parametrize("stem", STEMS)
def test_a_row_s_bits_do_not_depend_on_its_neighbours(stem):
    region = Region(entries(4, 64, 5, 3, 1, 3, 5, 32), "gfx1100", "f16", slots=2, max_rows=32)
    assert not list(region.rows_that_differ(stem, 20))

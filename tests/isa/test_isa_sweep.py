"""L3: every kernel skeleton, weight format and KV format as gfx machine code in the emulator against the interpreter.

Odd sizes, one row and many, contexts of 1, 127 and 4097 positions; what no kernel wrote and what lies behind a row is NaN.
"""

import pytest
from regions import Region, attention, awkward_k, biased_experts, experts, linear, steps_at, zipped

from hfc.formats import FORMATS, KV_FORMATS

ARCHS = ("gfx906", "gfx1010", "gfx1030", "gfx1100", "gfx1201", "gfx942")
BOUND = 1e-3  # relative L2
LINEARS = {
    "linear": lambda name: linear(name, awkward_k(name, 3), 37, residual=True),
    "long rows": lambda name: linear(name, awkward_k(name, 9 if FORMATS[name].block == 256 else 67), 5),
    "zipped": lambda name: zipped(name, awkward_k(name, 3), 35),
    "experts": lambda name: experts(name, awkward_k(name, 3), 33),
    "biased experts": lambda name: biased_experts(name, awkward_k(name, 3), 33),
}
SHAPES = {  # heads, KV heads, head size, window, softcap
    "one group of four": (4, 1, 64, 0, 0.0),
    "wide heads in groups of eight": (8, 1, 256, 0, 0.0),
    "window and softcap": (2, 2, 80, 100, 30.0),
    "no groups": (3, 3, 128, 0, 0.0),
}


@pytest.mark.sampled(384)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", LINEARS)
def test_linears(kind, format, arch):
    subject = Region(LINEARS[kind](format), arch)
    wrong = [c for c in subject.check() if not (c.ok and c.deviation.error <= BOUND)]
    assert not wrong, wrong
    assert not list(subject.rows_that_differ("linear", position=3))


@pytest.mark.sampled(384)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kv", (*KV_FORMATS, "q8/q4"))
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_and_cache_writes(shape, kv, arch):
    heads, kv_heads, size, window, softcap = SHAPES[shape]
    size = size if kv in ("f16", "f32") else -(-size // 32) * 32  # the others have blocks of 32
    subject = Region(attention(heads, kv_heads, size, window, softcap), arch, kv, context=4200, slots=3, max_rows=32)
    wrong = [c for c in subject.check(steps_at(0, 126, 4096)) if not (c.ok and c.deviation.error <= BOUND)]
    assert not wrong, wrong
    assert not list(subject.rows_that_differ("attend", position=4080))

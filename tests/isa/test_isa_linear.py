"""L3 of linear regions in decode: machine code against numpy at odd sizes, and D10: a row's bits do not depend on its company."""

import numpy as np
import pytest
from projection import Projection, error
from regions import Builder, Region

from hfc.backend.skeletons import geometry
from hfc.backend.skeletons.linear.skinny import geometry as skinny
from hfc.formats import FORMATS
from hfc.isa import SCHEDULES

ARCHS = ("gfx906", "gfx1010", "gfx1030", "gfx1100", "gfx1151", "gfx1201", "gfx942")
MATRIX = ("gfx1151", "gfx1201", "gfx942")  # where one row is no slower on matrix units: each of the three kinds
BOUND = 2e-4  # relative L2 of a row; inputs are f32, or pairs of f16
DOT_BOUND = 5e-4  # inputs are whole numbers of 15 bits; measured 1.3e-4, and 2.7e-4 behind a sigmoid
# formats, K, outputs, zipped, norm, top
CASES = (
    (["q4_k"], 512, [20]),
    (["q4_k", "q4_k"], 256, [33, 33], True),
    (["q4_k", "q6_k"], 256, [16, 16], True, False),
    (["q6_k"], 256, [18]),
    (["q8_0", "q4_0"], 96, [17, 50], False, False),
    (["q4_0", "q5_1"], 352, [5, 1]),
    (["f16", "bf16"], 160, [40, 3]),
    (["q4_k"], 256, [33], False, True, 2),
    (["mq4g256", "mfp4b256"], 768, [33, 33], True),
    (["mq6g256v2"], 512, [18], False, True, 2),
    (["mq4g256"], 2560, [19]),  # more than one run of inputs a thread, the last one not everybody's
)


def bound_of(case: Projection) -> float:
    dots = any(shape.template.name == "linear_dot" for shape in geometry(case.bound, case.arch, "decode"))
    return DOT_BOUND if dots else BOUND


def rows_of(case: Projection, first: int, rows: int) -> slice:
    each = max(1, case.top)
    return slice(first * each, (first + rows) * each)


@pytest.mark.sampled(20)
@pytest.mark.parametrize("sizes", CASES, ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_rows_alone_and_together(arch, sizes):
    """1, 2, 7, 9 and 16 rows, from other places among their neighbours, and other orders of waves: the same bits."""
    case = Projection(arch, *sizes)
    whole = case.run(16)
    assert error(whole, case.expected(16)) < bound_of(case)
    for first, rows in ((0, 1), (15, 1), (3, 2), (4, 7), (2, 9)):
        for found, expected in zip(case.run(rows, first), whole):
            np.testing.assert_array_equal(found, expected[rows_of(case, first, rows)])
    for options in SCHEDULES[1:]:
        for found, expected in zip(case.run(16, options=options), whole):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("k", [64, 96, 2560])
@pytest.mark.parametrize("arch", ARCHS)
def test_each_row_behind_a_norm_alone_and_together(arch, k):
    """Sums of squares are of one order in the kernel of one row and in that of several: of row 2 on gfx906 one product had been fused with
    the next in one kernel, and the next with it in the other."""
    case = Projection(arch, ["q8_0"], k, [19])
    whole = case.run(12)[0]
    for row in range(12):
        np.testing.assert_array_equal(case.run(1, row)[0][0], whole[row])


@pytest.mark.sampled(7)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("sizes", [(["q8_0"], 96, [33]), (["q4_k"], 256, [20]), (["bf16"], 160, [19])], ids=str)
def test_wanted_rows_of_a_prompt_have_the_bits_of_decode(arch, sizes):
    """However many there are: one, some, more than a step of decode has."""
    case = Projection(arch, *sizes).of_wanted_rows()
    whole = case.run(35, rows_class="prefill")
    assert error(whole, case.expected(35)) < bound_of(case)
    for first, rows in ((34, 1), (14, 9), (3, 16)):
        for rows_class in ("decode", "prefill"):
            found = case.run(rows, first, rows_class=rows_class)
            np.testing.assert_array_equal(found[0], whole[0][first : first + rows])


@pytest.mark.sampled(16)
@pytest.mark.parametrize("arch", MATRIX)
@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if name != "f32"])
def test_every_format_on_matrix_units(arch, name, monkeypatch):
    monkeypatch.setattr(skinny, "choice_for", lambda region, arch: None)  # by counted instructions, as without a table
    case = Projection(arch, [name], max(96, FORMATS[name].block), [19])
    if geometry(case.bound, case.arch, "decode")[0].template.name != "skinny_stage":
        pytest.skip("lanes cannot take this format as operands")
    whole = case.run(3)
    assert error(whole, case.expected(3)) < bound_of(case)
    np.testing.assert_array_equal(case.run(1, 2)[0], whole[0][2:])


@pytest.mark.sampled(16)
@pytest.mark.parametrize("arch", ("gfx906", "gfx1030", "gfx1100"))
@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.quantized])
def test_every_format_by_integer_dot_products(arch, name):
    case = Projection(arch, [name], max(96, FORMATS[name].block), [19])
    assert geometry(case.bound, case.arch, "decode")[0].template.name == "dot_stage"
    whole = case.run(3)
    assert error(whole, case.expected(3)) < DOT_BOUND
    np.testing.assert_array_equal(case.run(1, 2)[0], whole[0][2:])


@pytest.mark.sampled(6)
@pytest.mark.parametrize("arch", (*MATRIX, "gfx906", "gfx1030", "gfx1100"))
def test_more_inputs_than_fit_at_once(arch):
    """Inputs lie in LDS, a tile of K at a time; on matrix units those of one row."""
    case = Projection(arch, ["q4_k"], 8192 + 256, [16])
    whole = case.run(2)
    assert error(whole, case.expected(2)) < bound_of(case)
    np.testing.assert_array_equal(case.run(1, 1)[0], whole[0][1:])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("format", ["q8_0", "q4_0"])
def test_inputs_side_by_side_are_read_where_each_is(arch, format):
    """Who asks for all inputs before weights must not ask for places behind or ahead of one of two."""
    b = Builder()
    h = b.vectors("embed", 64)
    made = (b.op("silu", b.op("linear", h, b.matrix(name, format, n, 64))) for name, n in (("a", 64), ("c", 192)))
    region = Region(b.finish(b.op("linear", b.op("concat", *made), b.matrix("out", format, 40, 256))), arch)
    assert all(check.ok for check in region.check())

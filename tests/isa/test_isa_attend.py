"""L3 of attention: decode and prefill kernels as gfx machine code against the interpreter."""

import numpy as np
import pytest
from attention import Attention, error, step_of

from hfc.backend.compile import compile_job
from hfc.backend.gpu import kernel_job
from hfc.backend.skeletons import geometry
from hfc.backend.skeletons.attend import geometry as attend_geometry
from hfc.isa import SCHEDULES
from hfc.runtime.launcher import grid_size

ARCHS = ("gfx906", "gfx1030", "gfx1100", "gfx1201", "gfx942")
FORMATS = (
    ("f16", "f16"),
    ("f32", "f32"),
    ("q8", "q8"),
    ("q8", "q4"),
    *((f"{kind}{bits}", "q8") for kind in ("asym", "fwht") for bits in (4, 3, 2)),
)
# heads, KV heads, size
SHAPES = ((4, 4, 80), (8, 2, 256), (8, 1, 64), (16, 2, 128), (3, 1, 64), (4, 2, 24), (7, 1, 16))
FEW_ARCHS = ("gfx1100", "gfx1201", "gfx942")
DECODE_BOUND, PREFILL_BOUND = 3e-6, 1e-3
pytestmark = pytest.mark.sampled(48)


@pytest.fixture
def few(monkeypatch):
    """Decode on matrix units wherever there are any."""
    monkeypatch.setattr(attend_geometry, "DECODE_ON", attend_geometry.MATRIX_FEATURES)


@pytest.mark.parametrize("window", (0, 7))
@pytest.mark.parametrize("arch", ARCHS)
def test_rows_that_see_their_whole_segment(arch, window):
    """Keys behind the segment are NaN."""
    case = Attention(arch, 40, window=window, causal=False)
    for step, rows_class, bound in (
        (step_of((9, 31), (1, 3), (6, 0)), "decode", DECODE_BOUND),
        (step_of((20, 20), (11, 0)), "prefill", PREFILL_BOUND),
    ):
        assert error(case.run(step, rows_class), case.expected(step)) < bound


@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
@pytest.mark.parametrize("arch", ARCHS)
def test_decode_of_every_format(arch, formats):
    """One split, two splits, and a first token; the caches end behind their last key."""
    case = Attention(arch, 300, formats=formats)
    step = step_of((2, 298), (1, 0), (1, 130))
    assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_decode_of_every_shape(arch, shape):
    case = Attention(arch, 513, *shape, window=200, softcap=20.0)
    step = step_of((2, 511), (1, 0), (1, 256))
    assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND


@pytest.mark.parametrize("arch", ("gfx906", "gfx1100"))
def test_splits_grow_with_their_position(arch):
    """The window begins in a split of 128 positions and ends in one of 256."""
    case = Attention(arch, 8500, 2, 1, 256, window=600, formats=("q8", "q8"))
    step = step_of((2, 8498), (1, 8191))
    assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND


@pytest.mark.sampled(40)
@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
@pytest.mark.parametrize("arch", ARCHS)
def test_sinks(arch, formats):
    """One split, two splits, a first token, a window; prefill by lines and by tiles."""
    for window in (0, 200):
        case = Attention(arch, 300, 6, 2, 64, window=window, formats=formats, sinks=True)
        step = step_of((2, 298), (1, 0), (1, 130))
        assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND
        step = step_of((20, 280), (11, 0))
        assert error(case.run(step, "prefill"), case.expected(step)) < PREFILL_BOUND


@pytest.mark.sampled(40)
@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
@pytest.mark.parametrize("arch", ARCHS)
def test_slopes(arch, formats):
    """Keys lose by their distance: one split, two, a first token, a window, beside sinks; prefill on vectors and by tiles."""
    for heads, kv_heads, size, window, sinks in ((6, 2, 64, 0, False), (6, 2, 64, 200, True), (7, 1, 64, 0, False)):
        case = Attention(arch, 300, heads, kv_heads, size, window=window, formats=formats, sinks=sinks, slopes=True)
        step = step_of((2, 298), (1, 0), (1, 130))
        assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND
        step = step_of((20, 280), (11, 0))
        assert error(case.run(step, "prefill"), case.expected(step)) < PREFILL_BOUND


@pytest.mark.sampled(6)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("arch", ("gfx1100", "gfx906", "gfx1201"))
def test_slopes_of_every_shape(arch, shape):
    case = Attention(arch, 150, *shape, softcap=20.0, slopes=True)
    step = step_of((1, 149), (3, 64))
    assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND
    assert error(case.run(step, "prefill"), case.expected(step)) < PREFILL_BOUND


@pytest.mark.parametrize("arch", FEW_ARCHS)
def test_slopes_in_decode_on_matrix_units(few, arch):
    case = Attention(arch, 1060, 6, 2, 64, slopes=True)
    step = step_of((4, 1056), (1, 0), (7, 508))
    assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND


@pytest.mark.parametrize("arch", FEW_ARCHS)
def test_sinks_in_decode_on_matrix_units(few, arch):
    case = Attention(arch, 1060, 6, 2, 64, sinks=True)
    step = step_of((4, 1056), (1, 0), (7, 508))
    assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND


@pytest.mark.parametrize("window", (0, 300))
@pytest.mark.parametrize("arch", ARCHS)
def test_a_row_of_decode_does_not_depend_on_its_company(arch, window):
    """D10: rows alone, in fours, and behind another sequence; and other orders of waves."""
    case = Attention(arch, 528, window=window)
    whole = case.run(step_of((16, 512)), "decode")
    for first, rows in ((0, 1), (7, 1), (15, 1), (3, 4)):
        np.testing.assert_array_equal(
            case.run(step_of((rows, 512 + first)), "decode", first=first), whole[first : first + rows]
        )
    behind = case.run(step_of((5, 100), (3, 517), slots=(0, 2)), "decode")
    np.testing.assert_array_equal(behind[5:], whole[5:8])
    for options in SCHEDULES[1:]:
        np.testing.assert_array_equal(case.run(step_of((16, 512)), "decode", options), whole)


@pytest.mark.parametrize("formats", (("asym3", "q8"), ("fwht4", "q8"), ("q8", "q4"), ("f16", "f16")), ids="/".join)
@pytest.mark.parametrize("shape", ((8, 2, 256), (8, 1, 64), (6, 2, 64)), ids=str)
@pytest.mark.parametrize("arch", ("gfx906", "gfx1030", "gfx1100", "gfx1201"))
def test_a_block_of_one_head_makes_the_bits_of_a_block_of_several(arch, shape, formats):
    """D10: rows alone have blocks of one query head, in company blocks of several."""
    case, rows = Attention(arch, 400, *shape, formats=formats), 16
    shapes = [s for s in geometry(case.bound, case.arch, "decode") if s.template.name == "attend_split"]
    assert [s.params.together for s in shapes] == [1, shapes[1].params.together] and shapes[1].params.together > 1
    step = step_of((rows, 384))
    whole = case.run(step, "decode")
    assert error(whole, case.expected(step)) < DECODE_BOUND
    grids = [[grid_size(size, one) for size in s.grid] for one in (step, step_of((1, 384))) for s in shapes]
    assert [0 in grid for grid in grids] == [True, False, False, True]
    for row in (0, 7, 15):
        np.testing.assert_array_equal(case.run(step_of((1, 384 + row)), "decode", first=row)[0], whole[row])


@pytest.mark.parametrize("causal, window", ((True, 0), (True, 200), (False, 0)))
@pytest.mark.parametrize("arch", FEW_ARCHS)
def test_decode_on_matrix_units(few, arch, causal, window):
    """1, 4 and 7 rows of three sequences; D10: each row alone, in other company, and in other orders of waves."""
    case = Attention(arch, 1060, 6, 2, 64, window=window, causal=causal)
    step = step_of((4, 1056), (1, 0), (7, 508))
    whole = case.run(step, "decode")
    assert error(whole, case.expected(step)) < DECODE_BOUND
    if causal:
        for row in range(4):
            np.testing.assert_array_equal(case.run(step_of((1, 1056 + row)), "decode", first=row)[0], whole[row])
        for row in range(7):
            np.testing.assert_array_equal(
                case.run(step_of((1, 508 + row), slots=(1,)), "decode", first=5 + row)[0], whole[5 + row]
            )
        np.testing.assert_array_equal(case.run(step_of((5, 510), slots=(1,)), "decode", first=7), whole[7:])
    for options in SCHEDULES[1:]:
        np.testing.assert_array_equal(case.run(step, "decode", options), whole)


@pytest.mark.parametrize("rows", (1, 4, 7))
@pytest.mark.parametrize("window", (0, 1000))
@pytest.mark.parametrize("arch", FEW_ARCHS)
def test_decode_on_matrix_units_at_every_depth(few, arch, window, rows):
    """The last of the rows sees 127 keys, 1060, or 4097, one of them one; the caches end behind it."""
    for context in (rows, 127, 1060, 4097):
        case = Attention(arch, context, 4, 2, 32, window=window)
        step = step_of((rows, context - rows))
        assert error(case.run(step, "decode"), case.expected(step)) < DECODE_BOUND, context


@pytest.mark.parametrize(
    "shape", ((4, 4, 80), (8, 1, 64), (3, 1, 64), (4, 2, 24), (7, 1, 16), (32, 1, 16), (8, 2, 256)), ids=str
)
@pytest.mark.parametrize("arch", FEW_ARCHS)
def test_decode_on_matrix_units_of_every_shape(few, arch, shape):
    case = Attention(arch, 513, *shape, window=200, softcap=20.0)
    step = step_of((2, 511), (1, 0), (5, 254))
    whole = case.run(step, "decode")
    assert error(whole, case.expected(step)) < DECODE_BOUND
    np.testing.assert_array_equal(case.run(step_of((1, 512)), "decode", first=1)[0], whole[1])
    np.testing.assert_array_equal(case.run(step_of((1, 258), slots=(1,)), "decode", first=7)[0], whole[7])


@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
def test_decode_on_matrix_units_is_for_f16_alone(few, formats):
    """Expanded values of other formats are no f16 numbers: one f16 each would lose what DECODE_BOUND demands."""
    for arch in (*FEW_ARCHS, "sm_90"):
        case = Attention(arch, 40, formats=formats)
        templates = [shape.template.name for shape in geometry(case.bound, case.arch, "decode")]
        assert templates[0] == f"attend_{'tile' if formats == ('f16', 'f16') else 'split'}"
        assert templates[-1] == "attend_combine"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decode_on_matrix_units_compiles_for_nvidia(few, shape):
    """LDS within its limit, and the promised instruction."""
    case = Attention("sm_90", 4200, *shape, window=200)
    made = compile_job(kernel_job(case.bound, geometry(case.bound, case.arch, "decode")[0], case.settings))
    assert "mma.sync" in made.assembly and made.name.endswith("_split_tile")


@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
@pytest.mark.parametrize("arch", ARCHS)
def test_prefill_of_every_format(arch, formats):
    """Two sequences and a row of a third, a chunk that begins behind 40 tokens; the caches end behind their last key."""
    case = Attention(arch, 103, formats=formats)
    step = step_of((63, 40), (16, 0), (1, 50))
    assert error(case.run(step, "prefill"), case.expected(step)) < PREFILL_BOUND


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_prefill_of_every_shape(arch, shape):
    case = Attention(arch, 150, *shape, window=50, softcap=20.0)
    step = step_of((19, 131), (20, 0), (1, 70))
    assert error(case.run(step, "prefill"), case.expected(step)) < PREFILL_BOUND


@pytest.mark.parametrize("formats", FORMATS[:4], ids="/".join)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("rows_class, bound", (("decode", DECODE_BOUND), ("prefill", PREFILL_BOUND)))
def test_more_query_heads_of_a_kv_head_than_a_block_serves(arch, formats, rows_class, bound):
    """Latent attention: heads of 576 elements, all of one KV head; beyond the eighth, prompts were not computed."""
    case = Attention(arch, 150, 20, 1, 576, formats=formats)
    step = step_of((2, 148), (5, 0)) if rows_class == "decode" else step_of((19, 120), (3, 0))
    assert error(case.run(step, rows_class), case.expected(step)) < bound


@pytest.mark.parametrize("window", (0, 30))
@pytest.mark.parametrize("arch", ARCHS)
def test_a_row_of_prefill_does_not_depend_on_its_company(arch, window):
    """D10: chunks at other places, behind another sequence; and other orders of waves."""
    case = Attention(arch, 141, window=window)
    whole = case.run(step_of((80, 61)), "prefill")
    for first, rows in ((0, 17), (17, 40), (57, 23)):
        np.testing.assert_array_equal(
            case.run(step_of((rows, 61 + first)), "prefill", first=first), whole[first : first + rows]
        )
    behind = case.run(step_of((25, 100), (40, 86), slots=(0, 2)), "prefill")
    np.testing.assert_array_equal(behind[25:], whole[25:65])
    for options in SCHEDULES[1:]:
        np.testing.assert_array_equal(case.run(step_of((80, 61)), "prefill", options), whole)

"""The pseudocode translator: single instructions as C functions on special values, and what it refuses."""

import ctypes

import numpy as np
import pytest

from hfc.isa.corrections import CORRECTIONS
from hfc.isa.ctype import Untranslatable
from hfc.isa.errors import Unsupported
from hfc.isa.pcode import translate
from hfc.isa.tables import FAMILIES, family, pseudocode

ENV_BYTES = 80  # struct Env of semantics.h
MASK_OUT, MODE = 4, 13  # mask_out as an index of u64, mode of u32


def run(name: str, *sources: np.ndarray, of: str = "rdna3", mode: int = 0xF0) -> tuple[np.ndarray, np.ndarray]:
    """(destination rows u32, the environment as u32) of one instruction on a whole wave."""
    meaning, wave = family(of).meaning(name), 1 if name.startswith("s_") else FAMILIES[of][1]
    rows = [np.zeros(2 * wave, np.uint32) for _ in range(5)]
    for row, source in zip(rows[1:], sources):
        values = np.ascontiguousarray(source)
        if values.dtype.itemsize == 2:
            values = values.view(np.uint16).astype(np.uint32)
        words = values.view(np.uint32).reshape(-1, values.dtype.itemsize // 4).T.reshape(-1)
        row[: len(words)] = words
    env = np.zeros(ENV_BYTES // 4, np.uint32)
    env[MODE] = mode
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(meaning.address)
    function(*(r.ctypes.data for r in rows), env.ctypes.data)
    return rows[0], env


FLOATS = np.array(
    [0, -0.0, 1, -1, np.nan, np.inf, -np.inf, 1e-45, 3.4e38, 0.5, 2.5, -2.5, 0.49999997, 8388609, 1e10, -1e10],
    np.float32,
)
A, B = np.repeat(FLOATS, 2), np.tile(FLOATS, 2)


@pytest.mark.parametrize("name, expected", [
    ("lg", (A < B) | (A > B)), ("neq", A != B), ("nlg", ~((A < B) | (A > B))), ("lt", A < B), ("nge", ~(A >= B)),
    ("u", np.isnan(A) | np.isnan(B)), ("o", ~(np.isnan(A) | np.isnan(B))),
])  # fmt: skip
def test_comparisons_with_nan(name, expected):
    _, env = run(f"v_cmp_{name}_f32", A, B)
    mask = int(env.view(np.uint64)[MASK_OUT])
    assert [bool(mask >> lane & 1) for lane in range(32)] == expected.tolist()


@pytest.mark.parametrize("of", FAMILIES)
def test_rounding_conversion_and_saturation(of):
    x = np.tile(A, 2)[: FAMILIES[of][1]]
    lanes = len(x)
    found, _ = run("v_rndne_f32", x, of=of)
    np.testing.assert_array_equal(found[:lanes], np.rint(x).view(np.uint32))
    found, _ = run("v_cvt_i32_f32", x, of=of)
    clipped = np.clip(np.nan_to_num(x.astype(np.float64), posinf=1e30, neginf=-1e30), -(2**31), 2**31 - 1)
    np.testing.assert_array_equal(found[:lanes].view(np.int32), np.trunc(clipped).astype(np.int32))
    found, _ = run("v_mul_u32_u24", x, x[::-1].copy(), of=of)
    low = x.view(np.uint32).astype(np.uint64) & 0xFFFFFF
    np.testing.assert_array_equal(found[:lanes], (low * low[::-1]).astype(np.uint32))


def test_a_wide_read_of_a_narrow_result_writes_one_register():
    meaning = family("cdna").meaning("s_bcnt1_i32_b64")
    assert meaning.dst_bits == 32 and meaning.rows == (2, 0, 0)
    found, env = run("s_bcnt1_i32_b64", np.array([0xF0F0F0F0F0F0F0F0], np.uint64), of="cdna")
    assert found.tolist() == [32, 0]


def test_sine_of_many_turns():
    x = np.linspace(-255.75, 255.75, 32, dtype=np.float32)
    found, _ = run("v_sin_f32", x)
    np.testing.assert_allclose(found[:32].view(np.float32), np.sin(2 * np.pi * (x - np.floor(x))), atol=1e-6)


def test_what_is_not_understood_is_refused_by_name():
    with pytest.raises(Untranslatable, match="v_new: the function conjure is not known"):
        translate("v_new", "D0.u32 = conjure(S0.u32)", lambda name: "")
    with pytest.raises(Untranslatable, match="v_new"):
        translate("v_new", "D0.u32 = = 1", lambda name: "")
    with pytest.raises(Unsupported, match="v_mullit_f32: .*MAX_FLOAT_F32"):
        family("rdna3").meaning("v_mullit_f32")
    with pytest.raises(Unsupported, match="no manual describes it"):
        family("rdna3").meaning("v_conjure_b32")


def test_every_correction_is_used_and_has_a_reason():
    texts = {name: pseudocode(name) for name in FAMILIES}
    for name, correction in CORRECTIONS.items():
        assert correction.reason and all(texts[f][name] == correction.pseudocode for f in FAMILIES)

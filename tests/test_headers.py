"""The headers of GPU kernels: split into definitions, and cut to those that a kernel uses."""

import re

import pytest

from hfc.backend.headers import COMMENT, HEADERS, _definitions, _header, headers_for, split_definitions

HEADER = """
// Two lines
// above a function.
HFC_FUNCTION int hfc_one() { return 1; }
#if defined(__HIP__)
enum { HFC_A = 2, HFC_B = HFC_A + 1 };
HFC_FUNCTION int hfc_two() {
#if HFC_DEEP
  return HFC_B;
#endif
  return 2;
}
#endif
typedef struct __attribute__((aligned(8))) { float unit, sum; } hfc_pair_of_floats;
static __device__ const uint32_t HFC_TABLE[2] = {
    1, 2};
template <int N> HFC_FUNCTION int hfc_three() { return hfc_one() + N; }
"""


def test_a_header_splits_into_named_definitions():
    found = split_definitions(HEADER)
    assert "".join(d.text for d in found) == HEADER
    assert [sorted(d.names) for d in found] == [
        ["hfc_one"], [], ["HFC_A", "HFC_B"], ["hfc_two"], [], ["hfc_pair_of_floats"], ["HFC_TABLE"], ["hfc_three"],
    ]  # fmt: skip
    assert "hfc_one" in found[-1].words and "above" not in found[0].words


@pytest.mark.parametrize("name", HEADERS)
def test_all_code_of_our_headers_has_a_name(name):
    text = _header(name)
    definitions = split_definitions(text)
    assert "".join(d.text for d in definitions) == text
    assert [
        d.text for d in definitions if not d.names and not re.match(r"\s*(#|$)", COMMENT.sub("", d.text).strip())
    ] == []


def test_a_kernel_gets_what_it_uses_and_what_that_uses():
    text = headers_for("void kernel() { hfc_silu(hfc_token(step, 0)); }  // hfc_rotate would stand here")
    defined = [name for d in _definitions() for name in d.names if re.search(rf"\b{name}\b", text)]
    assert {"hfc_silu", "hfc_sigmoid", "hfc_exp", "hfc_token", "HFC_STEP_TOKEN", "HFC_FUNCTION"} <= set(defined)
    assert not {"hfc_rotate", "hfc_multiply", "hfc_softplus"} & set(defined)
    assert text.count("#if") == text.count("#endif")
    assert text.index("float hfc_exp(") < text.index("float hfc_sigmoid(") < text.index("float hfc_silu(")

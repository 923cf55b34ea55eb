"""Each feature that a row of ARCHS claims compiles to its instruction; the figures agree with the compiler's."""

import re

import pytest

from hfc.backend.compile import compile_kernel
from hfc.base.diagnostics import HfcError
from hfc.target.arch import ALL, AMD, FEATURES, GENERIC, find_arch, target_for

TYPES = """
typedef _Float16 half2 __attribute__((ext_vector_type(2)));
typedef _Float16 half4 __attribute__((ext_vector_type(4)));
typedef _Float16 half8 __attribute__((ext_vector_type(8)));
typedef _Float16 half16 __attribute__((ext_vector_type(16)));
typedef short short2v __attribute__((ext_vector_type(2)));
typedef short short4v __attribute__((ext_vector_type(4)));
typedef short short8 __attribute__((ext_vector_type(8)));
typedef short short16 __attribute__((ext_vector_type(16)));
typedef int int2v __attribute__((ext_vector_type(2)));
typedef int int4v __attribute__((ext_vector_type(4)));
typedef int int8v __attribute__((ext_vector_type(8)));
typedef float float2v __attribute__((ext_vector_type(2)));
typedef float float4v __attribute__((ext_vector_type(4)));
typedef float float8 __attribute__((ext_vector_type(8)));
"""

KERNEL = """
extern "C" __attribute__((global)) void probe(const A* a, const B* b, C* c) {
  const int i = __builtin_amdgcn_workitem_id_x();
  c[i] = EXPRESSION;
}
"""

# feature: (types of a, b, c, expression, instruction); "replicated" / "split" choose the operand shapes of wmma.
PROBES = {
    "packed_f16": ("half2", "half2", "half2", "a[i] * b[i] + c[i]", r"v_pk_fma_f16|v_pk_mul_f16"),
    "packed_f32": ("float2v", "float2v", "float2v", "a[i] * b[i]", r"v_pk_mul_f32"),
    "dot2_f16": (
        "half2",
        "half2",
        "float",
        "__builtin_amdgcn_fdot2(a[i], b[i], c[i], false)",
        r"v_(dual_)?dot2(c|acc)?_f32_f16",
    ),
    "sdot4": ("int", "int", "int", "__builtin_amdgcn_sdot4(a[i], b[i], c[i], false)", r"v_dot4c?_i32_i8"),
    "sudot4": ("int", "int", "int", "__builtin_amdgcn_sudot4(true, a[i], true, b[i], c[i], false)", r"v_dot4_i32_iu8"),
    "sdot8": ("int", "int", "int", "__builtin_amdgcn_sdot8(a[i], b[i], c[i], false)", r"v_dot8c?_i32_i4"),
    "sudot8": ("int", "int", "int", "__builtin_amdgcn_sudot8(true, a[i], true, b[i], c[i], false)", r"v_dot8_i32_iu4"),
    "fp8": ("int", "int", "float", "__builtin_amdgcn_cvt_f32_fp8(a[i], 0)", r"v_cvt_f32_fp8"),
    "dual_issue": ("float4v", "float4v", "float4v", "a[i] * b[i]", r"v_dual_"),
    "mfma_f16": (
        "half4",
        "half4",
        "float4v",
        "__builtin_amdgcn_mfma_f32_16x16x16f16(a[i], b[i], c[i], 0, 0, 0)",
        r"v_mfma_f32_16x16x16_?f16",
    ),
    "mfma_f16_k32": (
        "half8",
        "half8",
        "float4v",
        "__builtin_amdgcn_mfma_f32_16x16x32_f16(a[i], b[i], c[i], 0, 0, 0)",
        r"v_mfma_f32_16x16x32_?f16",
    ),
    "mfma_bf16": (
        "short4v",
        "short4v",
        "float4v",
        "__builtin_amdgcn_mfma_f32_16x16x16bf16_1k(a[i], b[i], c[i], 0, 0, 0)",
        r"v_mfma_f32_16x16x16_?bf16",
    ),
    "mfma_i8": (
        "int",
        "int",
        "int4v",
        "__builtin_amdgcn_mfma_i32_16x16x16i8(a[i], b[i], c[i], 0, 0, 0)",
        r"v_mfma_i32_16x16x16_?i8",
    ),
    "mfma_i8_k32": (
        "long",
        "long",
        "int4v",
        "__builtin_amdgcn_mfma_i32_16x16x32_i8(a[i], b[i], c[i], 0, 0, 0)",
        r"v_mfma_i32_16x16x32_?i8",
    ),
    "mfma_fp8": (
        "long",
        "long",
        "float4v",
        "__builtin_amdgcn_mfma_f32_16x16x32_fp8_fp8(a[i], b[i], c[i], 0, 0, 0)",
        r"v_mfma_f32_16x16x32_?fp8_fp8",
    ),
    "wmma_fp8": (
        "int2v",
        "int2v",
        "float8",
        "__builtin_amdgcn_wmma_f32_16x16x16_fp8_fp8_w32_gfx12(a[i], b[i], c[i])",
        r"v_wmma_f32_16x16x16_fp8_fp8",
    ),
}

_W = "__builtin_amdgcn_wmma_"
REPLICATED = {
    "wmma_f16": (
        "half16",
        "half16",
        "float8",
        _W + "f32_16x16x16_f16_w32(a[i], b[i], c[i])",
        r"v_wmma_f32_16x16x16_f16",
    ),
    "wmma_bf16": (
        "short16",
        "short16",
        "float8",
        _W + "f32_16x16x16_bf16_w32(a[i], b[i], c[i])",
        r"v_wmma_f32_16x16x16_bf16",
    ),
    "wmma_i8": (
        "int4v",
        "int4v",
        "int8v",
        _W + "i32_16x16x16_iu8_w32(1, a[i], 1, b[i], c[i], 0)",
        r"v_wmma_i32_16x16x16_iu8",
    ),
    "wmma_i4": (
        "int2v",
        "int2v",
        "int8v",
        _W + "i32_16x16x16_iu4_w32(1, a[i], 1, b[i], c[i], 0)",
        r"v_wmma_i32_16x16x16_iu4",
    ),
}
SPLIT = {
    "wmma_f16": (
        "half8",
        "half8",
        "float8",
        _W + "f32_16x16x16_f16_w32_gfx12(a[i], b[i], c[i])",
        r"v_wmma_f32_16x16x16_f16",
    ),
    "wmma_bf16": (
        "short8",
        "short8",
        "float8",
        _W + "f32_16x16x16_bf16_w32_gfx12(a[i], b[i], c[i])",
        r"v_wmma_f32_16x16x16_bf16",
    ),
    "wmma_i8": (
        "int2v",
        "int2v",
        "int8v",
        _W + "i32_16x16x16_iu8_w32_gfx12(1, a[i], 1, b[i], c[i], 0)",
        r"v_wmma_i32_16x16x16_iu8",
    ),
    "wmma_i4": (
        "int",
        "int",
        "int8v",
        _W + "i32_16x16x16_iu4_w32_gfx12(1, a[i], 1, b[i], c[i], 0)",
        r"v_wmma_i32_16x16x16_iu4",
    ),
}
LAYOUTS = {"wmma_replicated": REPLICATED, "wmma_split": SPLIT}
EITHER = {"dot4_i8": ("sdot4", "sudot4"), "dot8_i4": ("sdot8", "sudot8")}


def source_of(probe) -> str:
    a, b, c, expression, _ = probe
    return TYPES + f"typedef {a} A; typedef {b} B; typedef {c} C;\n" + KERNEL.replace("EXPRESSION", expression)


def emits(arch, probe) -> bool:
    """Whether the probe compiles for `arch` and its instruction is in the assembly."""
    try:
        return re.search(probe[-1], compile_kernel(source_of(probe), arch, "probe").assembly) is not None
    except HfcError:
        return False


# Twins have the instructions of the row that they resemble, which tests/test_hip_compile.py compares.
PROBED = [pytest.param(arch, id=arch.name, marks=pytest.mark.long if arch.twin else ()) for arch in AMD]


@pytest.mark.parametrize("arch", PROBED)
def test_a_row_claims_exactly_what_compiles(arch):
    layout = next((table for name, table in LAYOUTS.items() if arch.has(name)), REPLICATED)
    found = {feature for feature, probe in {**PROBES, **layout}.items() if emits(arch, probe)}
    claimed = arch.features - set(LAYOUTS) - set(EITHER) - {"rocblas"}  # a library
    assert found == claimed


@pytest.mark.parametrize("arch", AMD, ids=lambda arch: arch.name)
def test_features_that_stand_for_several(arch):
    for feature, spellings in EITHER.items():
        assert arch.has(feature) == any(arch.has(spelling) for spelling in spellings)
    assert arch.has("wmma_f16") == (arch.has("wmma_replicated") or arch.has("wmma_split"))


@pytest.mark.parametrize("arch", PROBED)
def test_wave_width_and_occupancy_agree_with_the_compiler(arch):
    for highest in (7, 40, 63, 100, 150, 250):
        source = f'extern "C" __attribute__((global)) void probe() {{ asm volatile("" ::: "v{highest}"); }}'
        compiled = compile_kernel(source, arch, "probe")
        said = int(re.search(r"; Occupancy: (\d+)", compiled.assembly)[1])
        assert compiled.resources.vgprs == highest + 1
        assert compiled.resources.occupancy == said, f"{highest + 1} registers"
    assert re.search(rf"\.wavefront_size: +{arch.wave}$", compiled.assembly, re.MULTILINE)


NVIDIA = """
extern "C" __attribute__((global)) void probe(const A* a, const B* b, C* c) {
  const int i = __nvvm_read_ptx_sreg_tid_x();
  EXPRESSION
}
"""
# clang has no builtin for dp4a, so the probe spells it as kernels must.
PTX_PROBES = {
    "packed_f16": ("half2", "half2", "half2", "c[i] = a[i] * b[i] + c[i];", r"fma\.rn\.f16x2"),
    "dot4_i8": (
        "int", "int", "int", 'asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(c[i]) : "r"(a[i]), "r"(b[i]));', r"dp4a\.s32\.s32",
    ),
}  # fmt: skip


def test_ptx_has_what_the_nvidia_row_claims():
    arch = find_arch("sm_90")
    for feature, (a, b, c, body, instruction) in PTX_PROBES.items():
        source = TYPES + f"typedef {a} A; typedef {b} B; typedef {c} C;\n" + NVIDIA.replace("EXPRESSION", body)
        text = compile_kernel(source, arch, "probe").assembly
        assert re.search(instruction, text) and ".target sm_90" in text, feature
    assert PTX_PROBES.keys() <= arch.features


@pytest.mark.parametrize("arch", GENERIC.values(), ids=lambda arch: arch.name)
def test_a_familys_target_has_the_instructions_of_its_row(arch):
    layout = next((table for name, table in LAYOUTS.items() if arch.has(name)), REPLICATED)
    claimed = arch.features - set(LAYOUTS) - set(EITHER)
    assert {feature for feature, probe in {**PROBES, **layout}.items() if emits(arch, probe)} == claimed


def test_a_gpu_without_a_row_gets_its_familys_target():
    assert [target_for(name) for name in ("gfx1154", "gfx1038", "gfx1016", "gfx1203")] == [
        "gfx11-generic", "gfx10-3-generic", "gfx10-1-generic", "gfx12-generic",
    ]  # fmt: skip
    assert target_for("gfx1100") == "gfx1100" and target_for("gfx1300") == "gfx1300"
    assert find_arch("gfx11-generic").code_object_version == 6 and "gfx11-generic" not in {arch.name for arch in ALL}


def test_find_arch_suggests_the_nearest():
    assert find_arch("gfx1100").wave == 32
    with pytest.raises(HfcError, match="did you mean 'gfx1201'"):
        find_arch("gfx1201x")
    with pytest.raises(HfcError, match="unknown feature"):
        find_arch("gfx1100").has("wmma_f17")


def test_rows_are_plausible():
    assert len(ALL) == 28 and len({arch.name for arch in ALL}) == 28
    for arch in ALL:
        assert arch.features <= FEATURES.keys()
        if arch.platform.is_gpu:
            assert arch.cards and all(card.bandwidth_gb_s >= 77 and card.compute_units >= 2 for card in arch.cards)


def test_the_name_of_a_card_gets_its_architecture():
    for name in ("7900xtx", "RX 7900 XTX", "radeon-rx-7900-xtx"):
        with pytest.raises(HfcError, match=f"unknown architecture '{name}'.*\n.*RX 7900 XTX is gfx1100"):
            find_arch(name)
    with pytest.raises(HfcError, match="did you mean 'gfx1150'"):
        find_arch("gfx110")

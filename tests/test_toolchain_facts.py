"""What the compiler does with sources like ours, as hfc's flags ask for it: PTX version, contraction, attributes, atomics."""

import re
from pathlib import Path

import pytest

from hfc.backend import toolchain
from hfc.backend.compile import compile_kernel
from hfc.target.arch import AMD, find_arch

HERE = Path(__file__).parent
DEVICE = HERE.parent / "hfc/backend"
GLOBAL = 'extern "C" __attribute__((global)) void '
MULTIPLY_ADD = GLOBAL + "probe(float* x, float a, float b) {{ {pragma}\n x[0] = a * b + x[1]; }}"
FUSED = {"amd": r"v_(dual_)?fma(c|mk|ak)?_f32|v_mac_f32|v_mad_f32", "nvidia": r"fma\.rn\.f32"}


def assembly(source: str, arch: str, *more: str) -> str:
    tools = toolchain.toolchain()
    found = toolchain.Toolchain((*tools.clang, *more), tools.linker, tools.version)
    return found.assembly(source, "probe", find_arch(arch)).decode()


@pytest.fixture(scope="module")
def root_with_cuda(tmp_path_factory) -> Path:
    """A root folder with what clang takes for a CUDA toolkit 12.9."""
    root = tmp_path_factory.mktemp("root")
    toolkit = root / "usr/local/cuda"
    for folder in ("bin", "include", "lib64", "nvvm/libdevice"):
        (toolkit / folder).mkdir(parents=True)
    (toolkit / "include/cuda.h").write_text("#define CUDA_VERSION 12090\n")
    (toolkit / "nvvm/libdevice/libdevice.10.bc").touch()
    return root


def test_an_installed_cuda_toolkit_does_not_change_ptx(root_with_cuda, monkeypatch):
    source, root = MULTIPLY_ADD.format(pragma=""), f"--sysroot={root_with_cuda}"
    plain = assembly(source, "sm_90")
    assert ".version 8.0" in plain
    assert assembly(source, "sm_90", root) == plain
    looking = tuple(flag for flag in toolchain.NVIDIA_FLAGS if not flag.startswith("--cuda-path"))
    monkeypatch.setattr(toolchain, "NVIDIA_FLAGS", looking)
    assert ".version 8.8" in assembly(source, "sm_90", root), "clang no longer looks: the flag may go"


def test_flags_are_part_of_what_is_cached(monkeypatch):
    arch, source = find_arch("sm_90"), MULTIPLY_ADD.format(pragma="")
    before = compile_kernel(source, arch, "probe")
    monkeypatch.setattr(toolchain, "NVIDIA_FLAGS", (*toolchain.NVIDIA_FLAGS, "-ffp-contract=off"))
    assert compile_kernel(source, arch, "probe").data != before.data


@pytest.mark.parametrize("arch", ["gfx906", "gfx1100", "sm_90"])
def test_products_and_sums_are_fused_unless_a_source_says_no(arch):
    fused = FUSED[find_arch(arch).platform.name]
    assert re.search(fused, assembly(MULTIPLY_ADD.format(pragma=""), arch))
    assert not re.search(fused, assembly(MULTIPLY_ADD.format(pragma="\n#pragma clang fp contract(off)"), arch))


@pytest.mark.parametrize("arch", ["gfx906", "gfx1100", "sm_90"])
def test_the_size_of_a_block_reaches_the_compiler(arch):
    """On AMD launch_bounds has no effect: types.h spells it amdgpu_flat_work_group_size."""
    types = (DEVICE / "device/types.h").read_text()
    text = assembly(f'{types}\nextern "C" __global__ __launch_bounds__(96) void probe(float* x) {{ x[0] = 1; }}', arch)
    found = re.search(r"\.max_flat_workgroup_size: (\d+)|\.maxntid (\d+)", text)
    assert found and "96" in found.groups()


@pytest.mark.parametrize("arch", [arch.name for arch in AMD if not arch.twin])
def test_counting_is_one_instruction_everywhere(arch):
    """hfc_count orders nothing by its own: a loop around a compare-and-swap would be slow, and float atomics are one on half of the archs."""
    text = assembly(GLOBAL + "probe(int* at) { __atomic_fetch_add(at, 1, __ATOMIC_RELAXED); }", arch)
    assert re.search(r"(global|flat)_atomic_add", text) and "cmpswap" not in text


def test_no_kernel_adds_floats_atomically():
    """Their order would decide the last bits."""
    for path in (*(DEVICE / "kernels").rglob("*.j2"), *(DEVICE / "device").rglob("*.h")):
        for call in re.findall(r"\batomic\w+|__atomic\w+\(.*|__hip_atomic\w+", path.read_text()):
            assert re.match(r"__atomic_fetch_add\((at, 1,|bins \+ )", call), f"{path.name}: {call}"

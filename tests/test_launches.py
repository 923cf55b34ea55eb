"""Launches of a decoded token and the bytes that they move, for official shapes: what decides the speed of small models."""

import math
import re
from pathlib import Path

import pytest

from hfc.backend import gpu
from hfc.backend.emit import emit, make_plan
from hfc.compiler import CompileOptions, open_source, settings_for
from hfc.formats import kv_format, weight_format
from hfc.passes.pipeline import run_passes
from hfc.plan import Plan
from hfc.runtime.null import NullModel
from hfc.step import Step
from hfc.target.arch import find_arch

CONFIGS = Path(__file__).parent / "data/configs"
POSITION = 1000
# hipfire: 944 for 27B
LAUNCHES = {"Qwen3.5-0.8B": 7 * 24, "Qwen3.5-2B": 7 * 24, "Qwen3.5-9B": 7 * 32, "Qwen3.5-27B": 450}


def decode_plan(name: str, arch: str, profile: str = "exact") -> Plan:
    """The plan with the launches of decode, kernels not compiled."""
    source = open_source(CONFIGS / f"{name}.config.json", default_format="q4_k")
    settings = settings_for(source, find_arch(arch), CompileOptions(kv="f16", ctx=4096, profile=profile))
    emitted, programs = gpu.list_launches(
        emit(run_passes(source.graph(), settings), settings, gpu.MATRIX_LAYOUT), settings, {}
    )
    return make_plan(emitted, settings, (), programs)


def least_bytes(plan: Plan) -> int:
    """Every weight once (of a table that is only gathered one row), recurrent state in and out, KV of the context."""
    multiplied = {p for launch in plan.programs["decode"] for p in launch.pointers if "gather" not in launch.kernel}
    total = 0
    for ref in plan.weights:
        rows = math.prod(ref.shape[:-1]) if ref.pointer in multiplied else 1
        total += rows * weight_format(ref.format).row_bytes(ref.shape[-1])
    for state in plan.states:
        if "k" in state.planes:
            total += (
                (POSITION + 1)
                * state.shape[1]
                * sum(kv_format(f).row_bytes(state.shape[3]) for f in state.formats.values())
            )
        else:
            total += 2 * 4 * math.prod(state.shape[1:])
    return total


@pytest.mark.sampled(4)
@pytest.mark.parametrize("arch", ["gfx906", "gfx1030", "gfx1100", "gfx1201"])
@pytest.mark.parametrize("name", LAUNCHES)
def test_launches_and_bytes_of_a_decoded_token(name, arch):
    plan = decode_plan(name, arch)
    model = NullModel(plan, "decode")
    model.forward(Step.single([1], position=POSITION))
    # gfx906 makes whole numbers of a linear's inputs in a launch of their own: more launches, and half the time (docs/performance.md).
    most = LAUNCHES[name] * 4 // 3 if arch == "gfx906" else LAUNCHES[name]
    assert model.count.launches + 1 <= most  # and one that samples
    assert least_bytes(plan) * 0.99 <= model.count.bytes <= 1.05 * least_bytes(plan)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("arch, behind", [("gfx1100", 3), ("sm_90", 3), ("gfx1010", 5)])
def test_launches_of_a_mixture_of_experts_behind_its_router(arch, behind):
    """Choice, experts, the shared expert, its gate and the weighted sum; gfx1010 has no integer dot products: each by itself."""
    launches = decode_plan("Qwen3.5-35B-A3B", arch, "auto").programs["decode"]
    found = [x.kernel for x in launches if re.match(r"mixture|route|zip|linear_\w*k512_", x.kernel)]
    assert len(found) == behind * 40, found[:behind]

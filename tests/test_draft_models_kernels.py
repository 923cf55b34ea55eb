"""A draft's kernels on the host against the interpreter, one by one: odd sizes, what lies behind a row is NaN."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_reference import MODELS
from test_draft_models import DRAFTS, small_mtp

from hfc.backend.emit import emit
from hfc.backend.host import plan as host
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.passes.pipeline import run_passes
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.runtime.launcher import HostLauncher
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.upload import CheckpointWeights
from hfc.selftest import check_plan
from hfc.target.arch import ARCHS, find_arch
from hfc.workbench.remade import fused_graphs

sys.path.append(str(Path(__file__).parent / "isa"))
from draft_regions import GRAPHS

assert small_mtp  # a fixture


@pytest.mark.parametrize("name", GRAPHS)
def test_awkward_sizes(name):
    settings = Settings(find_arch("host"), 64, 4, 64, 32, "f16", "f16")
    graph = run_passes(GRAPHS[name](), settings)
    plan, files = host.build(emit(graph, settings, host.MATRIX_LAYOUT), settings)
    launcher = HostLauncher(Bundle({}, {"host": plan}, files), plan, 2)
    checks = list(check_plan(plan, graph, launcher, RandomWeights(64), True, lambda _: None))
    assert len(checks) > 2
    assert all(c.ok for c in checks), checks


@pytest.mark.sampled(3)
@pytest.mark.parametrize("draft", ["dflash", "dflash2", "mtp"])
def test_every_launch_of_target_and_draft(draft, small_mtp):
    target = small_mtp if draft == "mtp" else MODELS / "qwen3_5_text"
    draft = draft if draft == "mtp" else DRAFTS / draft
    bundle, source = (
        compile_model(target, ["host"], CompileOptions(ctx=96, slots=3, max_rows=64, draft=draft)),
        open_source(target, draft=draft),
    )
    plan = bundle.plans["host"]
    graph, own = fused_graphs(source, plan)
    checks = list(
        check_plan(
            plan,
            graph,
            HostLauncher(bundle, plan, 2),
            CheckpointWeights(source.weights(), 96),
            True,
            lambda _: None,
            draft=own,
        )
    )
    assert {c.program for c in checks} == {"step", "draft_step"}
    assert all(c.ok for c in checks), [c for c in checks if not c.ok]


def test_drafts_without_weights_can_be_measured(small_mtp):
    """What `--random-weights` draws for a pair: every weight and table of the plan."""
    plan = compile_model(small_mtp, ["host"], CompileOptions(ctx=96, draft="mtp")).plans["host"]
    weights = RandomWeights(96)
    assert all(weights.weight(replace(ref, layout="rows")).size for ref in plan.weights)
    tables = {ref.recipe.op: weights.const(ref).view(np.float32) for ref in plan.consts}
    np.testing.assert_array_equal(tables["repeat"].reshape(-1, 2)[:3], [[1, 0]] * 3)


@pytest.mark.long
@pytest.mark.parametrize("draft", ["dflash", "dflash2", "mtp"])
def test_every_architecture_has_the_draft_s_kernels(draft, small_mtp):
    """Compiled, and through the gates: registers, LDS, loads."""
    target, draft = (small_mtp, draft) if draft == "mtp" else (MODELS / "qwen3_5_text", DRAFTS / draft)
    bundle = compile_model(target, ["all"], CompileOptions(ctx=96, slots=2, max_rows=64, draft=draft))
    assert set(bundle.plans) == set(ARCHS)
    for arch, plan in bundle.plans.items():
        assert all(plan.programs[p] for p in (["draft_step"] if arch == "host" else ["draft_decode", "draft_prefill"]))

"""`hfc selftest` on the host: right kernels pass, wrong ones do not, whichever way they are wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS
from small_models import CONFIGS

from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.formats import weight_format
from hfc.program import Program
from hfc.runtime import executor
from hfc.runtime.launcher import GpuLauncher, HostLauncher, grid_size
from hfc.runtime.upload import CheckpointWeights
from hfc.selftest import check_plan, compare
from hfc.selftest.packed import PIECE, PackedWeight
from hfc.selftest.steps import make_step, steps_of
from hfc.step import Step
from hfc.workbench.remade import fused_graphs

CHECKPOINTS = [
    "llama",
    "qwen3",
    "gemma3_text",
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "llama/model.gguf",
    "qwen3_5_text/model.gguf",
]


@pytest.fixture
def selftest(capfd):
    """Run the command; returns exit code, standard output and standard error."""

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["selftest", *map(str, arguments)])
        return end.value.code or 0, *capfd.readouterr()

    return run


class Subject:
    """A small model compiled for the host, as the selftest sees it."""

    def __init__(self, name="llama", arch="host"):
        self.bundle = compile_model(MODELS / name, [arch], CompileOptions(ctx=64, slots=2, max_rows=32))
        self.plan = self.bundle.plans[arch]
        source = open_source(MODELS / name)
        self.graph = fused_graphs(source, self.plan)[0]
        self.weights = CheckpointWeights(source.checkpoint, 64)
        self.launcher = HostLauncher(self.bundle, self.plan, 2) if arch == "host" else None

    def check(self, plan=None, launcher=None, graph=None):
        return list(
            check_plan(plan or self.plan, graph or self.graph, launcher or self.launcher, self.weights, False, print)
        )


@pytest.fixture(scope="module")
def llama():
    return Subject()


@pytest.mark.sampled(9)
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_every_kernel_of_the_small_models_agrees(selftest, checkpoint):
    code, out, err = selftest(MODELS / checkpoint, "--all", "--ctx", "128", "-t", 2)
    header, *rows, verdict = out.splitlines()[1:]
    assert code == 0 and header.split()[:3] == ["program", "kernel", "launches"], out + err
    assert all(row.startswith("step ") and row.endswith(" ok") for row in rows)
    assert verdict == f"{len(rows)} kernels agree with the interpreter" and len(rows) >= 8


def test_random_weights_where_there_is_no_checkpoint(selftest, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen3", **CONFIGS["qwen3"]}))
    code, out, err = selftest(config, "--format", "q4_0", "--ctx", "64")
    assert code == 0 and "qwen3 on the host (host), random weights" in out and "linear_q4_0" in out, out + err


class Changed:
    """A launcher whose kernels do something else with one of the buffers they write."""

    def __init__(self, launcher, change):
        self.launcher, self.change = launcher, change

    def run(self, program, number, memory, step):
        before = {pointer: data.copy() for pointer, data in memory.items()}
        self.launcher.run(program, number, memory, step)
        for pointer, data in memory.items():
            if not np.array_equal(before[pointer], data):
                self.change(data.view(np.float16 if pointer.kind == "state" else np.float32), before[pointer])


def wrong_element(data, before):
    data[7] += 1


def lost_row(data, before):
    data[:32].view(np.uint8)[:] = before[: data[:32].nbytes]


def inexact(data, before):
    data *= 1.02


@pytest.mark.parametrize("change", [wrong_element, lost_row, inexact])
def test_wrong_results_are_found(llama, change):
    checks = llama.check(launcher=Changed(llama.launcher, change))
    assert len(checks) >= 8 and not any(c.ok for c in checks), [c for c in checks if c.ok]


def test_kernels_that_write_nothing_are_found(llama):
    class Nothing:
        def run(self, *arguments):
            pass

    assert not any(c.ok for c in llama.check(launcher=Nothing()))


def test_a_write_behind_the_end_is_found(llama):
    short = replace(llama.plan, buffers=tuple(replace(b, row_bytes=b.row_bytes // 2) for b in llama.plan.buffers))
    wide = make_step(((32, 0.0),), llama.plan, 0)
    launch = llama.plan.programs["step"][0]
    from_buffers = {b.name: b.row_bytes * 32 for b in short.buffers}
    memory = {p: np.zeros(from_buffers.get(p.name, 1 << 16), np.uint8) for p in launch.pointers}
    with pytest.raises(HfcError, match="wrote 0 bytes past the end of buffer:"):
        llama.launcher.run("step", 0, memory, wide)


def test_a_plan_of_another_graph_is_refused(llama):
    other = replace(
        llama.plan, programs={"step": (replace(llama.plan.programs["step"][0], text="kernel map -> %other {}"),)}
    )
    with pytest.raises(HfcError, match="compiled from another graph"):
        llama.check(plan=other)


def test_a_difference_is_exit_code_1(selftest, monkeypatch):
    monkeypatch.setattr(compare, "WORST", 0)
    code, out, _ = selftest(MODELS / "llama", "--ctx", "64")
    assert code == 1 and "WRONG" in out and "kernels differ from the interpreter" in out


def test_a_large_element_may_round_as_its_size_is_and_a_wrong_one_is_seen():
    expected = np.random.default_rng(0).standard_normal((16, 1536)).astype(np.float32)
    expected[3, 5] = 60
    rounded, wrong = expected.copy(), expected.copy()
    rounded[3, 5] += 0.02  # 3e-4 of it, 2 % of the others
    wrong[7, 9] += 0.02
    assert compare.deviation(rounded, expected).within(compare.bound_of("linear", "fast"))
    seen = compare.deviation(wrong, expected)
    assert seen.error < 1e-3 and not seen.within(compare.bound_of("linear", "fast"))


def test_the_null_device_is_refused(selftest):
    code, out, err = selftest(MODELS / "llama", "--device", "null")
    assert (code, out) == (2, "") and "computes nothing" in err


def test_launches_of_a_gpu_get_their_grids_and_leave_no_memory():
    gpu, driver = Subject(arch="sm_90"), FakeDriver()
    checks = gpu.check(launcher=GpuLauncher(gpu.bundle, gpu.plan, driver))
    assert {c.program for c in checks} == {"decode", "prefill", "sample"} and not any(c.ok for c in checks)
    steps = {
        "decode": steps_of(Program.DECODE, gpu.plan),
        "prefill": steps_of(Program.PREFILL, gpu.plan),
        "sample": [make_step(((1, 0.0),), gpu.plan, 0)],
    }
    launches = [(launch, step) for p in gpu.plan.programs for launch in gpu.plan.programs[p] for step in steps[p]]
    assert {symbol for symbol, _ in driver.launches} == {
        launch.kernel for launch, step in launches if all(grid_size(e, step) for e in launch.grid)
    }
    assert not driver.memory


def test_a_lost_device_ends_the_test(selftest, monkeypatch):
    driver = FakeDriver()
    driver.fail_at = 3
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: driver)
    code, out, err = selftest(MODELS / "llama", "--device", "cuda", "--ctx", "64")
    assert (code, out) == (3, "") and err.count("error:") == 1 and "719" in err and "Traceback" not in err


def test_steps_have_odd_rows_in_several_slots(llama):
    plan = replace(llama.plan, context=256, slots=4, max_rows=256, max_outputs=32)
    few, many = steps_of(Program.DECODE, plan), steps_of(Program.PREFILL, plan)
    assert [len(s.tokens) for s in few] == [1, 4, 13] and [len(s.tokens) for s in many] == [169, 17]
    for step in few + many:
        assert len({s.slot for s in step.segments}) == len(step.segments)
        assert all(s.position + s.rows <= 256 for s in step.segments) and step.positions.size == len(step.tokens)
        assert 0 < len(step.output_rows) <= 5
    assert len(steps_of(Program.STEP, plan)) == 5


def test_grid_expressions_are_c():
    step = make_step(((13, 0.0),), Subject().plan, 0)
    assert grid_size("T * (C > 128)", step) == 0 and grid_size("T * (C > 128)", Step.single([1], position=128)) == 1
    assert grid_size("(T + 3) / 4", step) == 4 and grid_size("R * 8", step) == 40 and grid_size("G", step) == 1


def test_packed_weights_read_as_unpacked_ones():
    form, rng = weight_format("q8_0"), np.random.default_rng(0)
    values = rng.standard_normal((PIECE // 64 + 5, 64), np.float32)
    raw = form.pack(values)
    packed, plain = PackedWeight(form, raw, values.shape), form.unpack(raw)
    x = rng.standard_normal((3, 64), np.float32)
    np.testing.assert_allclose(x @ packed.T, x @ plain.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(packed[np.array([5, 2])], plain[[5, 2]])

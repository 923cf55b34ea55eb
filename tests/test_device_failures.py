"""What goes wrong with GPUs: no driver, the wrong card, too little memory, a launch that fails, a card that is lost.

Every failure is one error that says what to do; nothing hangs, and the memory is free afterwards."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from fake_driver import LOST, FakeDriver
from model_reference import MODELS
from small_models import CONFIGS

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.cli import main
from hfc.compiler import CompileOptions, compile_model
from hfc.pointer import STEP as STEP_BUFFER
from hfc.runtime import cuda, executor, hip
from hfc.runtime.executor import load
from hfc.runtime.launcher import grid_size
from hfc.runtime.sampler import Sampler, Sampling
from hfc.step import Step, column_at

MODEL = MODELS / "qwen3_5_text"
STEP = Step.single(np.arange(20))


@pytest.fixture(scope="module")
def bundle():
    return compile_model(MODEL, ["sm_90"], CompileOptions(ctx=64, slots=2, max_rows=32))


@pytest.fixture
def use(monkeypatch):
    """Let `cuda` be this driver; returns it."""

    def patch(driver):
        monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: driver)
        return driver

    return patch


@pytest.mark.parametrize(
    ("module", "name", "package"), [(cuda, "cu", "cuda-bindings"), (hip, "hip", "rocm-bindings-hip")]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, module, name, package):
    monkeypatch.setattr(module, name, None)
    monkeypatch.setattr(cuda, "has_cuda_library", lambda: True)
    with pytest.raises(HfcError, match=f"(?s)Python package {package} is not installed.*pip install "):
        module.open_device()


def test_no_card_is_one_line_and_exit_code_2_and_never_the_cpu(monkeypatch, capfd, bundle, tmp_path):
    error = SimpleNamespace(CUDA_SUCCESS=0, CUDA_ERROR_NO_DEVICE=100)
    result = SimpleNamespace(name="CUDA_ERROR_NO_DEVICE")
    fake = SimpleNamespace(
        CUresult=error, cuInit=lambda flags: None, cuDeviceGetCount=lambda: (result,), cuGetErrorString=lambda e: (0, b"no CUDA-capable device")
    )  # fmt: skip
    monkeypatch.setattr(cuda, "cu", fake)
    monkeypatch.setattr(cuda, "has_cuda_library", lambda: True)
    bundle.save(tmp_path / "m.hfp")
    np.save(tmp_path / "t.npy", np.arange(4))
    with pytest.raises(SystemExit) as end:
        main(
            [
                "logits",
                str(tmp_path / "m.hfp"),
                "--device",
                "cuda",
                "--tokens",
                str(tmp_path / "t.npy"),
                "--out",
                str(tmp_path / "o.npy"),
            ]
        )
    out, err = capfd.readouterr()
    assert (
        end.value.code == 2
        and out == ""
        and "no GPU that the NVIDIA driver shows" in err
        and "no CUDA-capable device" in err
    )
    assert err.count("error:") == 1 and not (tmp_path / "o.npy").exists()


def test_an_old_driver_is_told_to_be_updated(monkeypatch):
    result = SimpleNamespace(name="CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
    monkeypatch.setattr(
        cuda,
        "cu",
        SimpleNamespace(
            CUresult=SimpleNamespace(CUDA_SUCCESS=0), cuGetErrorString=lambda e: (0, b"unsupported toolchain")
        ),
    )
    with pytest.raises(
        HfcError, match="(?s)cuModuleLoadData failed: unsupported toolchain.*hint: the NVIDIA driver is older"
    ):
        cuda._check("cuModuleLoadData", (result,))


def test_the_wrong_card_for_the_bundle_names_both_and_what_to_compile(use, bundle):
    driver = use(FakeDriver("gfx1100"))
    with pytest.raises(
        HfcError, match="(?s)Fake 9000 is a gfx1100; the bundle has no plan for gfx1100, only for sm_90.*--arch gfx1100"
    ):
        load(bundle, "cuda")
    assert not driver.memory


def test_too_little_memory_is_refused_with_the_table_before_anything_is_allocated(use, bundle):
    driver = use(FakeDriver(memory_bytes=200 << 20))
    driver.allocations_left = 0
    with pytest.raises(
        HfcError,
        match="(?s)Fake 9000 has too little free memory.*weights.*scratch.*state.*total.*largest context.*hint: .*--ctx",
    ):
        load(bundle, "cuda")


def test_steps_allocate_nothing(use, bundle):
    """After the first step neither device nor pinned memory is asked for."""
    driver = use(FakeDriver())
    model = load(bundle, "cuda", weights=MODEL)
    sampler = Sampler(Sampling(temperature=0), ())
    blocks, pinned = list(driver.memory), len(driver.pinned)
    driver.allocations_left = 0
    for _ in range(3):
        model.forward(STEP)
        for position in range(50):
            model.next_tokens(Step.single([1], position=position), [sampler])
    assert list(driver.memory) == blocks and len(driver.pinned) == pinned
    model.close()


def test_a_failed_allocation_frees_the_earlier_ones(use, bundle):
    whole = use(FakeDriver())
    load(bundle, "cuda")
    for left in range(len(whole.memory)):
        driver = use(FakeDriver())
        driver.allocations_left = left
        with pytest.raises(HfcError, match="allocate failed: out of memory"):
            load(bundle, "cuda")
        assert not driver.memory and not driver.pinned, left


def test_weights_that_do_not_fit_the_plan_free_the_memory(use, bundle, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3", **CONFIGS["qwen3"]}))
    (tmp_path / "model.safetensors").write_bytes((MODELS / "qwen3/model.safetensors").read_bytes())
    driver = use(FakeDriver())
    with pytest.raises(HfcError):
        load(bundle, "cuda", weights=tmp_path)
    assert not driver.memory and not driver.pinned


def test_closing_frees_everything(use, bundle):
    driver = use(FakeDriver())
    model = load(bundle, "cuda")
    assert driver.memory and driver.pinned
    model.forward(STEP)
    model.close()
    assert not driver.memory and not driver.pinned


@pytest.mark.parametrize("how", ["forward", "next_tokens"])
def test_a_launch_that_fails_names_the_launch_and_the_device_stays_lost(use, bundle, how):
    driver = use(FakeDriver())
    model = load(bundle, "cuda")
    few, many = Step.single([5], 20), STEP  # one goes through a graph, one launch by launch

    def run(step):
        last = Step(step.tokens, step.segments, step.output_rows[-1:])
        return model.forward(step) if how == "forward" else model.next_tokens(last, [Sampler(Sampling(temperature=0))])

    run(many), run(few)
    driver.fail_at = len(driver.launches) + 3
    with pytest.raises(DeviceLost, match=f"Fake 9000.* {LOST}.* at launch 2 of prefill"):
        run(many)
    for step in (few, many):
        with pytest.raises(DeviceLost, match=str(LOST)):
            run(step)
    model.close()  # says nothing more: the error has been told
    model.close()


def test_a_graph_that_fails_is_a_lost_device_too(use, bundle):
    driver = use(FakeDriver())
    model = load(bundle, "cuda")
    step = Step.single([5])
    before = len(driver.launches)
    model.forward(step)
    count = len(driver.launches) - before
    model.forward(step)
    assert (
        len(driver.launches)
        == before + 2 * count
        == before + 2 * sum(all(grid_size(e, step) for e in launch.grid) for launch in model.plan.programs["decode"])
    )
    driver.fail_at = len(driver.launches) + 1
    with pytest.raises(DeviceLost, match=str(LOST)):
        model.forward(step)


def test_a_step_that_follows_finds_its_tokens_on_the_device(use, bundle):
    driver = use(FakeDriver())
    model = load(bundle, "cuda")
    words = np.empty(column_at("position", 32) + 1, np.int32)
    first, second = Step.single([5], 20), Step.single([0], 21)
    queued = model.queue(first, [Sampler(Sampling(temperature=0))])
    driver.copy_in(model.address(STEP_BUFFER) + 4 * column_at("token", 32), np.array([77], np.int32))
    after = model.queue(second, [Sampler(Sampling(temperature=0))], follows=True)
    driver.copy_out(words.view(np.uint8), model.address(STEP_BUFFER))
    assert words[column_at("token", 32)] == 77 and words[-1] == 21
    assert len(queued.result()) == len(after.result()) == 1
    model.forward(first)
    with pytest.raises(AssertionError, match="not there"):
        model.queue(second, [Sampler(Sampling(temperature=0))], follows=True)
    model.close()


def test_a_step_that_fails_behind_another_is_a_lost_device(use, bundle):
    driver = use(FakeDriver())
    model = load(bundle, "cuda")
    steps = [Step.single([5], 20 + i) for i in range(3)]
    queued = [model.queue(step, [Sampler(Sampling(temperature=0))], i > 0) for i, step in enumerate(steps[:2])]
    driver.error = LOST
    with pytest.raises(DeviceLost, match="Fake 9000.*step failed"):
        queued[0].result()
    with pytest.raises(DeviceLost, match=str(LOST)):
        model.queue(steps[2], [Sampler(Sampling(temperature=0))], follows=True)
    with pytest.raises(DeviceLost):
        queued[1].result()
    model.close()


def test_kernels_of_small_steps_start_early(use, bundle):
    """All but the first, which follows a copy; those of prompts wait for the kernel ahead."""
    driver = use(FakeDriver())
    model = load(bundle, "cuda")
    model.forward(Step.single([5]))
    assert driver.early == len(driver.launches) - 1 > 0
    before = driver.early
    model.forward(STEP)
    assert driver.early == before


def test_a_lost_device_is_exit_code_3_and_writes_nothing(use, bundle, capfd, tmp_path):
    driver = use(FakeDriver())
    driver.fail_at = 5
    bundle.save(tmp_path / "m.hfp")
    np.save(tmp_path / "t.npy", np.arange(4))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as end:
        main(
            [
                "logits",
                str(tmp_path / "m.hfp"),
                "--device",
                "cuda",
                "--tokens",
                str(tmp_path / "t.npy"),
                "--out",
                str(tmp_path / "o.npy"),
            ]
        )
    out, err = capfd.readouterr()
    assert end.value.code == 3 and out == "" and err.count("error:") == 1 and "Fake 9000" in err
    assert sorted(tmp_path.iterdir()) == before

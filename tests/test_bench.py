"""`hfc bench`: what its workloads run, and its GPU side on a card made of numpy memory."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from fake_driver import FakeDriver
from small_models import CONFIGS

from hfc.cli import main
from hfc.cli.workload import Workload, check_workload, workloads
from hfc.compiler import CompileOptions, compile_model
from hfc.runtime import executor
from hfc.runtime.launcher import grid_size
from hfc.runtime.null import NullModel
from hfc.step import Step


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps({"model_type": "qwen3", **CONFIGS["qwen3"]}))
    return path


@pytest.fixture(scope="module")
def bundle(config):
    path = config.with_name("model.hfp")
    compile_model(config, ["sm_90"], CompileOptions(ctx=64, slots=4, max_rows=32, default_format="q4_0")).save(path)
    return path


@pytest.fixture
def bench(capfd, monkeypatch):
    """Run the command on a fake card; returns exit code, standard output and standard error."""
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: FakeDriver())

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["bench", *map(str, arguments)])
        return end.value.code or 0, *capfd.readouterr()

    return run


def test_every_decode_at_every_depth_in_every_batch():
    found = workloads([128], [16, 32], [0, 512], [1, 4])
    assert [w.name for w in found] == [
        "pp128", "tg16", "tg16 b4", "tg16 d512", "tg16 d512 b4", "tg32", "tg32 b4", "tg32 d512", "tg32 d512 b4",
    ]  # fmt: skip
    assert [w.tokens for w in found[:3]] == [128, 16, 64] and found[4].context == 528


def test_a_prompt_is_one_slot_in_chunks_and_wants_its_last_logits():
    steps = list(Workload(prompt=70).steps(32, 1000))
    assert [len(s.tokens) for s in steps] == [32, 32, 6] and [s.segments[0].position for s in steps] == [0, 32, 64]
    assert [s.output_rows.tolist() for s in steps] == [[], [], [5]]
    ids = np.concatenate([s.tokens for s in steps])
    assert ids.min() >= 0 and ids.max() < 1000 and len(set(ids.tolist())) > 60


def test_decoding_starts_behind_the_context_that_was_prepared():
    work = Workload(decode=3, depth=40, batch=2)
    before = list(work.prepare(32, 1000))
    assert [(s.segments[0].slot, s.segments[0].position, len(s.tokens)) for s in before] == [
        (0, 0, 32), (0, 32, 8), (1, 0, 32), (1, 32, 8),
    ]  # fmt: skip
    assert not any(len(s.output_rows) for s in before)
    steps = list(work.steps(32, 1000))
    assert [[(x.slot, x.row, x.rows, x.position) for x in s.segments] for s in steps] == [
        [(0, 0, 1, p), (1, 1, 1, p)] for p in (40, 41, 42)
    ]
    assert all(s.output_rows.tolist() == [0, 1] and s.tokens[0] != s.tokens[1] for s in steps)
    assert not list(Workload(prompt=9).prepare(32, 1000))


def test_what_does_not_fit_the_plan_is_refused(bundle):
    model = NullModel(executor.load_bundle(bundle).plans["sm_90"])
    check_workload(Workload(decode=24, depth=40, batch=4), model)
    with pytest.raises(executor.HfcError, match="tg25 d40 does not fit the context of 64"):
        check_workload(Workload(decode=25, depth=40), model)
    with pytest.raises(executor.HfcError, match="(?s)tg1 b5 needs 5 slots, the plan has 4.*--slots 5"):
        check_workload(Workload(decode=1, batch=5), model)


def launches(program, rows, outputs):
    """Those of a step of so many rows with so many logits: kernels for other numbers have empty grids."""
    step = replace(Step.single(range(rows)), output_rows=np.arange(rows - outputs, rows, dtype=np.int32))
    return sum(all(grid_size(size, step) for size in launch.grid) for launch in program)


def test_a_gpu_measures_launches_and_times(bench, bundle):
    options = (
        "--device",
        "cuda",
        "--random-weights",
        "-p",
        "40",
        "-n",
        "3",
        "-d",
        "0,20",
        "-b",
        "1,4",
        "-r",
        2,
        "--json",
    )
    code, out, err = bench(bundle, *options)
    rows = {r["test"]: r for r in json.loads(out)}
    assert code == 0 and list(rows) == ["pp40", "tg3", "tg3 b4", "tg3 d20", "tg3 d20 b4"]
    programs = executor.load_bundle(bundle).plans["sm_90"].programs
    few, many = (programs[name] + programs["sample"] for name in ("decode", "prefill"))
    assert (
        rows["tg3"]["launches_per_token"] == launches(few, 1, 1)
        and rows["tg3 b4"]["launches_per_token"] == launches(few, 4, 4) / 4
    )
    assert rows["pp40"]["launches_per_token"] == round((launches(many, 32, 0) + launches(many, 8, 1)) / 40, 2)
    for row in rows.values():
        assert row["device"] == "Fake 9000" and row["device_us_per_step"] == 500.0 and row["host_us_per_step"] > 0
        assert row["min"] <= row["tok_s"] <= row["max"] and row["memory_gb_s"] > 1000  # 0.5 ms, says the fake's clock


@pytest.mark.long
def test_a_config_is_compiled_with_enough_slots_in_the_format_asked_for(bench, config):
    options = (
        "--device",
        "cuda",
        "--random-weights",
        "--format",
        "q4_k",
        "--ctx",
        "64",
        "-p",
        "",
        "-n",
        "2",
        "-b",
        "2",
        "-r",
        1,
    )
    code, out, err = bench(config, *options)
    assert code == 2 and "q4_k" in err and "256" in err  # 64 columns hold no block of 256
    options = tuple("q8_0" if o == "q4_k" else o for o in options)
    code, out, err = bench(config, *options)
    assert code == 0 and "tg2 b2" in out and "Fake 9000: memory moves" in out and "; profile fast" in out, err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "cuda"), "a config has no weights"),
        (("--random-weights",), "the host device reads weights from a checkpoint"),
        (("--device", "cuda", "-p", "", "-n", ""), "there is nothing to measure"),
        (("--device", "cuda", "-d", "x"), "'x' is not a list of token counts"),
    ],
)
def test_mistakes(bench, config, options, message):
    code, out, err = bench(config, *options)
    assert (code, out) == (2, "") and message in err and err.count("error:") == 1


def test_a_bundle_is_measured_without_the_compiler():
    code = "import sys, hfc.cli.bench; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "hfc.runtime.executor" in loaded and not {"lark", "hfc.compiler", "hfc.backend"} & set(loaded)

"""A step may leave out what only the plan's draft would read: fewer launches, the same logits, the draft's states untouched."""

from dataclasses import replace

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime import executor
from hfc.runtime.executor import load
from hfc.runtime.launcher import grid_size
from hfc.runtime.sampler import Sampler, Sampling
from hfc.step import Segment, Step

TARGET, DRAFTS = MODELS / "qwen3_5_text", MODELS.parent / "drafts"
ROWS = 32


def steps(observed):
    """A prompt of 24 tokens, a block that is not committed, the first 3 rows of it, and on."""
    tokens = np.random.default_rng(0).integers(0, 100, 40).astype(np.int32)
    every = lambda n: np.arange(n, dtype=np.int32)  # noqa: E731
    yield Step(tokens[:24], (Segment(0, 0, 24, 0),), every(24), 0, observed)
    yield Step(tokens[24:30], (Segment(0, 0, 6, 24, 0, False),), every(6), 0, observed)
    yield Step(tokens[27:28], (Segment(0, 0, 1, 27, 3),), every(1), 0, observed)


@pytest.mark.parametrize("draft", ["dflash", "dflash2"])
def test_the_host_computes_the_same_without_what_the_draft_needs(draft):
    model = load(
        compile_model(TARGET, ["host"], CompileOptions(ctx=64, max_rows=ROWS, draft=DRAFTS / draft)), "host", 2
    )
    left_out = model.plan.draft.observing["step"]
    texts = [launch.text for launch in model.plan.programs["step"]]
    assert 0 < left_out < len(texts) // 2
    own = [s for s in model.plan.states if s.name.startswith("draft.")]
    assert own and all(not any(s.name in text for s in own) for text in texts[: len(texts) - left_out])
    found = {}
    for observed in (False, True):
        logits = [model.forward(step) for step in steps(observed)]
        states = {
            (s.name, p): model.state(s.name, p).copy() for s in model.plan.states for p in s.planes if p != "journal"
        }
        found[observed] = logits, states
    for blind, seeing in zip(found[False][0], found[True][0]):
        assert blind.tobytes() == seeing.tobytes()
    for (name, plane), blind in found[False][1].items():
        same = np.array_equal(blind, found[True][1][name, plane])
        assert same != name.startswith("draft."), f"{name}.{plane}"
        assert not (name.startswith("draft.") and blind.any()), "a draft's state changed in a step that left it out"


STEP = Step(np.array([5], np.int32), (Segment(0, 0, 1, 3),), np.zeros(1, np.int32))


def launched_kernel(launch, step):
    """None where a step has no rows for it."""
    return launch.kernel if all(grid_size(size, step) for size in launch.grid) else None


def some(kernels):
    return [kernel for kernel in kernels if kernel is not None]


def test_a_card_launches_less(monkeypatch):
    driver = FakeDriver()
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: driver)
    options = CompileOptions(ctx=256, slots=3, max_rows=24, draft=DRAFTS / "dflash")  # test_cycle.py compiles the same
    model = load(compile_model(TARGET, ["sm_90"], options), "cuda")
    launched = {}
    for observed in (True, False):
        driver.launches.clear()
        model.next_tokens(replace(STEP, observed=observed), [Sampler(Sampling(temperature=0))])
        launched[observed] = [symbol for symbol, _ in driver.launches]
    left_out = model.plan.draft.observing["decode"]
    decode, sample = (
        [launched_kernel(launch, STEP) for launch in model.plan.programs[name]] for name in ("decode", "sample")
    )
    assert (
        left_out > 0
        and launched[True] == some(decode + sample)
        and launched[False] == some(decode[:-left_out] + sample)
    )
    assert len(launched[False]) < len(launched[True])

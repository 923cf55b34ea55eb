"""The device protocol, the same for every device: host, null, a GPU of numpy memory, and the GPUs that are here.

HFC_TEST_BUNDLES: a folder with conformance-ARCH.hfp, for a GPU machine that has no compiler; made with `bundle_for`.
"""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.compiler import CompileOptions, compile_model
from hfc.plan import Bundle
from hfc.runtime import executor
from hfc.runtime.executor import arch_of_device, load
from hfc.runtime.generate import prefill
from hfc.step import Segment, Step

MODEL = MODELS / "qwen3_5_text"  # it has every kind of state
CONTEXT, SLOTS, ROWS = 64, 3, 32
DEVICES = ("host", "null:sm_90", "fake", "cuda", "hip")


def bundle_for(arch: str) -> Bundle:
    made = Path(os.environ.get("HFC_TEST_BUNDLES", "/nowhere")) / f"conformance-{arch}.hfp"
    return (
        load_bundle(made, trusted=True)
        if made.exists()
        else compile_model(MODEL, [arch], CompileOptions(ctx=CONTEXT, slots=SLOTS, max_rows=ROWS))
    )


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """The name of a device that is here; the fake one stands in for cuda."""
    if request.param == "fake":
        monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: FakeDriver())
        return "cuda"
    try:
        arch_of_device(request.param)
    except HfcError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def open_model(device):
    """Load another model on the device; all are closed at the end."""
    bundle, opened = bundle_for(arch_of_device(device)), []

    def open_one():
        opened.append(load(bundle, device, threads=2, weights=MODEL))
        return opened[-1]

    yield open_one
    for model in opened:
        model.close()


@pytest.fixture
def model(open_model):
    return open_model()


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 128, 60).astype(np.int32)


def step(segments, tokens, outputs) -> Step:
    """segments: (slot, rows, position)."""
    made, row = [], 0
    for slot, rows, position in segments:
        made.append(Segment(slot, row, rows, position))
        row += rows
    return Step(np.asarray(tokens[:row], np.int32), tuple(made), np.asarray(outputs, np.int32))


def test_a_model_tells_its_limits(model):
    assert (model.context, model.slots, model.max_rows, model.max_outputs, model.vocab) == (
        CONTEXT,
        SLOTS,
        ROWS,
        ROWS,
        128,
    )


@pytest.mark.parametrize("rows", [1, 2, 16, 17, 31, 32])
@pytest.mark.parametrize("outputs", ["none", "last", "all", "some"])
def test_logits_have_one_row_for_each_that_is_wanted(model, tokens, rows, outputs):
    wanted = {"none": [], "last": [rows - 1], "all": range(rows), "some": range(0, rows, 3)}[outputs]
    logits = model.forward(step([(0, rows, 0)], tokens, list(wanted)))
    assert logits.shape == (len(wanted), 128) and logits.dtype == np.float32 and np.isfinite(logits).all()


def test_logits_are_a_copy(model, tokens):
    first = model.forward(Step.single(tokens[:5]))
    before = first.copy()
    model.forward(Step.single(tokens[5:9], position=5))
    np.testing.assert_array_equal(first, before)


def test_wanted_rows_are_those_of_the_whole_step(model, tokens):
    whole = model.forward(step([(0, 20, 0)], tokens, range(20)))
    some = model.forward(step([(0, 20, 0)], tokens, [3, 11, 19]))
    np.testing.assert_array_equal(some, whole[[3, 11, 19]])


def test_a_slot_starts_afresh_at_position_0(model, tokens):
    first = model.forward(Step.single(tokens[:12]))
    model.forward(Step.single(tokens[20:40]))
    np.testing.assert_array_equal(model.forward(Step.single(tokens[:12])), first)


def test_slots_do_not_know_of_each_other(open_model, tokens):
    """Few rows run the same program alone and together: then the bits are the same."""
    alone, together = open_model(), open_model()
    expected = [alone.forward(Step.single(tokens[i : i + 1], i))[0] for i in range(8)]
    other = tokens[::-1]
    together.forward(step([(1, 9, 0)], other, []))
    found = []
    for i in range(8):
        mixed = np.concatenate([other[i : i + 1], tokens[i : i + 1], other[9 + i : 10 + i]])
        found.append(together.forward(step([(2, 1, i), (0, 1, i), (1, 1, 9 + i)], mixed, [1]))[0])
    np.testing.assert_array_equal(found, expected)


def test_two_models_at_once(open_model, tokens):
    first, second = open_model(), open_model()
    a = first.forward(Step.single(tokens[:6]))
    second.forward(Step.single(tokens[30:50]))
    b = first.forward(Step.single(tokens[6:9], position=6))
    np.testing.assert_array_equal(second.forward(Step.single(tokens[:6])), a)
    np.testing.assert_array_equal(second.forward(Step.single(tokens[6:9], position=6)), b)


def test_a_model_runs_in_another_thread_than_it_was_made_in(model, tokens):
    expected, found = model.forward(Step.single(tokens[:7])), []

    def work():
        try:
            found.append(model.forward(Step.single(tokens[:7])))
        except HfcError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and isinstance(found[0], np.ndarray), found
    np.testing.assert_array_equal(found[0], expected)


def test_two_threads_with_a_model_each(open_model, tokens):
    models, results = [open_model(), open_model()], {}
    expected = models[0].forward(Step.single(tokens[:7]))

    def work(index):
        for _ in range(5):
            results[index] = models[index].forward(Step.single(tokens[:7]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    [t.start() for t in threads]
    [t.join(60) for t in threads]
    assert sorted(results) == [0, 1] and not any(t.is_alive() for t in threads)
    np.testing.assert_array_equal(results[0], expected)
    np.testing.assert_array_equal(results[1], expected)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda t: step([(0, 33, 0)], t, [0]), "a step of 33 rows; the plan holds 32"),
        (lambda t: step([(3, 1, 0)], t, [0]), "slot 3; the plan has 3"),
        (lambda t: step([(0, 2, 63)], t, [0]), "position 64; the plan's context holds 64"),
        (lambda t: step([(0, 20, 0)], t, [0] * 33), "33 rows of logits asked for, the plan holds 32"),
    ],
    ids=["rows", "slot", "position", "outputs"],
)
def test_what_the_plan_cannot_hold_is_refused_and_the_model_goes_on(model, tokens, bad, message):
    before = model.forward(Step.single(tokens[:5]))
    with pytest.raises(HfcError, match=message):
        model.forward(bad(tokens))
    np.testing.assert_array_equal(model.forward(Step.single(tokens[:5])), before)


def test_closing_twice_is_closing_once(open_model, tokens):
    first, second = open_model(), open_model()
    first.close()
    first.close()
    assert second.forward(Step.single(tokens[:3])).shape == (3, 128)


def test_a_prompt_longer_than_a_step(model, tokens):
    assert prefill(model, tuple(tokens.tolist())).shape == (128,)


def test_numbers_of_devices_that_compute(model, device, tokens):
    """Greedy tokens and logits of the interpreter's checkpoint reference; null and fake devices compute nothing."""
    if device.startswith("null") or isinstance(getattr(model, "driver", None), FakeDriver):
        pytest.skip("computes nothing")
    with np.load(MODEL / "reference.npz") as reference:
        prompt, expected, greedy = reference["tokens"], reference["prefill_logits"], reference["greedy_tokens"].tolist()
    logits = model.forward(Step.single(prompt))
    assert np.linalg.norm(logits - expected) / np.linalg.norm(expected) < 1e-2
    last, found = logits[-1], []
    for at in range(min(len(greedy), CONTEXT - len(prompt))):
        found.append(int(np.argmax(last)))
        last = model.forward(Step.single(found[-1:], position=len(prompt) + at))[0]
    assert found == greedy[: len(found)]

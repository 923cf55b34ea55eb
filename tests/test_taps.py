"""Taps: values besides the logits that a plan gives out, against transformers' hidden states and the interpreter."""

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS, interpreter, relative_error

from hfc.base.diagnostics import HfcError
from hfc.bundles import read_bundle
from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedModel
from hfc.pointer import Pointer
from hfc.runtime import executor
from hfc.runtime.executor import load
from hfc.runtime.upload import CheckpointWeights
from hfc.step import Segment, Step

NAMES = ("llama", "qwen3", "gemma3_text", "qwen3_5_text", "qwen3_5_moe_text")
CONTEXT = 64
BOUND = 1e-4  # relative L2 with f32 keys and values
EMULATED_BOUND = 5e-3  # matrix units multiply f16 activations


def compiled(name, arch="host", taps=("last_hidden",), **options):
    return compile_model(
        MODELS / name, [arch], CompileOptions(kv="f32", ctx=CONTEXT, slots=2, max_rows=32, taps=taps, **options)
    )


def reference_of(name):
    with np.load(MODELS / name / "reference.npz") as file:
        return file["tokens"], file["last_hidden"]


@pytest.mark.parametrize("name", NAMES)
def test_the_last_hidden_state_is_transformers_s(name):
    tokens, expected = reference_of(name)
    model = load(compiled(name), "host", 2)
    model.forward(Step.single(tokens))
    assert relative_error(model.tap("last_hidden", 0, len(tokens)), expected) <= BOUND
    assert (
        relative_error(interpreter(MODELS / name, taps=("last_hidden",)).run(Step.single(tokens))[1], expected) <= BOUND
    )


@pytest.mark.parametrize("name", ("llama", "qwen3_5_text"))
def test_every_row_of_a_step_and_no_other(name):
    """Chunks, neighbours, steps without logits: a row's state depends on none of them, and logits not on the tap."""
    tokens, _ = reference_of(name)
    model, plain = load(compiled(name), "host", 2), load(compiled(name, taps=()), "host", 2)
    logits = model.forward(Step.single(tokens))
    np.testing.assert_array_equal(logits, plain.forward(Step.single(tokens)))
    whole = model.tap("last_hidden", 0, len(tokens))
    both = np.concatenate([tokens[:5], tokens[::-1][:9]])
    model.forward(Step(both, (Segment(1, 0, 5, 0), Segment(0, 5, 9, 0)), np.array([], np.int32)))
    np.testing.assert_array_equal(model.tap("last_hidden", 0, 5), whole[:5])
    model.forward(Step(tokens[5:], (Segment(1, 0, len(tokens) - 5, 5),), np.array([3], np.int32)))
    np.testing.assert_array_equal(model.tap("last_hidden", 2, 4), whole[7:11])


def test_taps_of_layers():
    tokens, last = reference_of("qwen3_5_text")
    taps = ("hidden[0]", "last_hidden", "hidden[2]")
    model = load(compiled("qwen3_5_text", taps=taps), "host", 2)
    expected = interpreter(MODELS / "qwen3_5_text", taps=taps).run(Step.single(tokens))
    logits = model.forward(Step.single(tokens, outputs="last"))
    assert relative_error(logits, expected[0][-1:]) <= BOUND
    for tap, value in zip(taps, expected[1:]):
        assert relative_error(model.tap(tap, 0, len(tokens)), value) <= BOUND
    assert relative_error(expected[2], last) <= BOUND


@pytest.mark.parametrize(
    ("name", "arch"), [("llama", "gfx1100"), pytest.param("qwen3_5_moe_text", "gfx906", marks=pytest.mark.long)]
)
def test_machine_code_of_a_gpu_leaves_them(name, arch):
    tokens, expected = reference_of(name)
    path = MODELS / name
    model = EmulatedModel(compiled(name, arch), arch, CheckpointWeights(open_source(path).checkpoint, CONTEXT))
    model.forward(Step.single(tokens[:7], outputs="last"))
    found = [model.tap("last_hidden", 0, 7)]
    model.forward(Step.single(tokens[7:], position=7))
    assert (
        relative_error(np.concatenate([*found, model.tap("last_hidden", 0, len(tokens) - 7)]), expected)
        <= EMULATED_BOUND
    )


def test_what_a_plan_does_not_give_out_is_refused():
    model = load(compiled("llama", taps=()), "host", 2)
    with pytest.raises(HfcError, match="nothing but logits") as refused:
        model.tap("last_hidden", 0, 1)
    assert "--tap last_hidden" in refused.value.hint
    with pytest.raises(HfcError, match="last_hiden"):
        compiled("llama", taps=("last_hiden",))


def test_taps_survive_the_bundle_and_lie_where_a_gpu_reads_them(monkeypatch):
    bundle = read_bundle(compiled("llama", "sm_90").pack(), "test")
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: FakeDriver())
    model = load(bundle, "cuda", weights=MODELS / "llama")
    model.forward(Step.single(np.arange(9)))
    rows = np.arange(9 * 64, dtype=np.float32).reshape(9, 64)  # the fake computes nothing
    model.driver.copy_in(
        model.address(Pointer.buffer(bundle.plans["sm_90"].taps["last_hidden"])), rows.view(np.uint8).reshape(-1)
    )
    np.testing.assert_array_equal(model.tap("last_hidden", 3, 4), rows[3:7])
    model.close()

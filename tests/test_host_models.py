"""L1: whole models on the host device equal transformers: prompt, token by token, greedy tokens, states, batches."""

import ctypes
import mmap
import sys

import numpy as np
import pytest
from model_reference import MODELS, SHARED, relative_error
from test_models_fixtures import in_gguf_order

from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.formats.checkpoint.mapped import MappedFile
from hfc.oracle import InterpretedModel
from hfc.pointer import Pointer
from hfc.runtime import host, weights
from hfc.runtime.executor import load
from hfc.runtime.memory import allocate
from hfc.step import Segment, Step

BOUND = 5e-3  # relative L2 with f16 keys and values; measured 1e-4
FLOAT_BOUND = 1e-4  # f32 keys and values leave f32 noise; measured 3e-6
CHECKPOINTS = [
    "llama",
    "qwen3",
    "gemma3_text",
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "llama/model.gguf",
    "qwen3_5_text/model.gguf",
]


def open_host(path, kv="f16", slots=1, threads=2, ctx=192):
    return load(compile_model(path, ["host"], CompileOptions(kv=kv, ctx=ctx, slots=slots)), "host", threads)


def reference_of(checkpoint):
    folder = MODELS / checkpoint
    with np.load((folder if folder.is_dir() else folder.parent) / "reference.npz") as file:
        return dict(file)


def prompt_logits(model, tokens, chunk):
    """All logits of a prompt that is fed `chunk` tokens at a time."""
    steps = [Step.single(tokens[at : at + chunk], position=at) for at in range(0, len(tokens), chunk)]
    return np.concatenate([model.forward(step) for step in steps])


def greedy_tokens(model, logits, position, count):
    tokens = []
    for at in range(count):
        tokens.append(int(np.argmax(logits)))
        logits = model.forward(Step.single([tokens[-1]], position=position + at))[-1]
    return tokens


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kv, bound", [("f16", BOUND), ("f32", FLOAT_BOUND)])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_prompt_steps_and_greedy_tokens(checkpoint, kv, bound):
    reference = reference_of(checkpoint)
    tokens, expected = reference["tokens"], reference["greedy_tokens"].tolist()
    model = open_host(MODELS / checkpoint, kv)
    logits = prompt_logits(model, tokens, 32)
    assert relative_error(logits, reference["prefill_logits"]) <= bound
    assert greedy_tokens(model, logits[-1], len(tokens), len(expected)) == expected
    stepwise = prompt_logits(model, tokens, 1)
    assert relative_error(stepwise, reference["stepwise_logits"]) <= bound
    np.testing.assert_array_equal(stepwise, logits)  # D10: chunks do not matter, bit for bit
    np.testing.assert_array_equal(prompt_logits(model, tokens, 7), logits)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_final_states(checkpoint):
    reference = reference_of(checkpoint)
    tokens = reference["tokens"]
    states = {key.removeprefix("state."): value for key, value in reference.items() if key.startswith("state.")}
    if checkpoint.endswith(".gguf"):
        states = in_gguf_order(MODELS / checkpoint, states)
    model = open_host(MODELS / checkpoint, "f32")
    prompt_logits(model, tokens, 32)
    for key, expected in states.items():
        layer, part = key.split(".")
        ref = next(
            s
            for s in model.plan.states
            if s.name.split(".")[1] == layer and (part in s.planes or s.name.endswith(part))
        )
        shape = [{"C": model.context}.get(n, n) for n in ref.shape[1:]]
        found = model.state(ref.name, part if part in ref.planes else "")[0].view(np.float32).reshape(shape)
        if part in ref.planes:  # transformers keeps only the window of a sliding layer
            found = found[:, len(tokens) - expected.shape[1] : len(tokens)]
        elif part == "window":  # and one more input than matters
            expected = expected[:, -found.shape[1] :]
        assert relative_error(found, expected) <= FLOAT_BOUND, key


@pytest.mark.sampled(2)
@pytest.mark.parametrize("checkpoint", ["llama", "gemma3_text", "qwen3_5_text", "qwen3_5_moe_text"])
def test_neighbours_in_the_batch_do_not_matter(checkpoint):
    tokens = reference_of(checkpoint)["tokens"]
    alone = prompt_logits(open_host(MODELS / checkpoint), tokens[:12], 12)
    model = open_host(MODELS / checkpoint, slots=3)
    other = tokens[::-1][:9].astype(np.int32)
    first = Step(np.concatenate([other[:5], tokens[:8]]), (Segment(2, 0, 5, 0), Segment(0, 5, 8, 0)), np.arange(5, 13))
    second = Step(
        np.concatenate([tokens[8:9], other[5:9], other[:2]]).astype(np.int32),
        (Segment(0, 0, 1, 8), Segment(2, 1, 4, 5), Segment(1, 5, 2, 0)),
        np.array([0]),
    )
    found = [
        model.forward(first),
        model.forward(second),
        model.forward(Step(tokens[9:12], (Segment(0, 0, 3, 9),), np.arange(3))),
    ]
    np.testing.assert_array_equal(np.concatenate(found), alone)


def test_a_slot_starts_afresh_at_position_zero():
    tokens = reference_of("qwen3_5_text")["tokens"]
    model = open_host(MODELS / "qwen3_5_text")
    first = prompt_logits(model, tokens, 32)
    prompt_logits(model, tokens[::-1].copy(), 32)
    np.testing.assert_array_equal(prompt_logits(model, tokens, 32), first)


def test_threads_do_not_matter():
    tokens = reference_of("qwen3_5_moe_text")["tokens"]
    one, two = (prompt_logits(open_host(MODELS / "qwen3_5_moe_text", threads=n), tokens, 32) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the fixtures in {SHARED}")
QUANTIZED = [f"qwen35-tiny-{format}" for format in ("IQ4_XS", "Q4_0", "Q4_K_M", "Q6_K", "Q8_0")] + [
    "qwen35moe-tiny-Q8_0"
]


@shared
@pytest.mark.parametrize("name", ["qwen35-tiny-official", "qwen35moe-tiny-official"])
@pytest.mark.parametrize("prompt", ["p48", "p150"])
def test_official_layouts(name, prompt):
    reference = np.load(SHARED / name / "reference.npz")
    tokens, expected = reference[f"{prompt}.tokens"], reference[f"{prompt}.greedy_tokens"].tolist()
    model = open_host(SHARED / name)
    logits = prompt_logits(model, tokens, 32)
    assert relative_error(logits, reference[f"{prompt}.prefill_logits"]) <= BOUND
    assert relative_error(prompt_logits(model, tokens, 1), reference[f"{prompt}.stepwise_logits"]) <= BOUND
    assert greedy_tokens(model, logits[-1], len(tokens), len(expected)) == expected


@shared
@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_weights_against_their_dequantized_meaning(name):
    """The host's divergence is no larger than llama.cpp's own on the same file; measured: four orders smaller."""
    path = SHARED / "gguf" / f"{name}.gguf"
    reference = np.load(SHARED / "gguf" / f"{name}.ref.npz")
    tokens, exact = reference["tokens"], reference["dequant_f32"]
    interpreted = InterpretedModel(open_source(path), context=192).forward(Step.single(tokens))
    assert relative_error(interpreted, exact) <= 1e-4
    host = prompt_logits(open_host(path), tokens, 32)
    assert divergence(host, exact) <= divergence(reference["llamacpp_prefill"], exact)
    assert relative_error(host, exact) <= BOUND


def divergence(logits, exact) -> float:
    """Mean KL(exact || logits)."""

    def log_softmax(x):
        x = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

    p, q = log_softmax(exact), log_softmax(logits)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux which pages are resident")
def test_one_of_many_slots_makes_its_own_tokens_real_and_not_large_pages(monkeypatch):
    made = []
    spied = lambda nbytes, in_large_pages=True: made.append(in_large_pages) or allocate(nbytes, in_large_pages)  # noqa: E731
    monkeypatch.setattr(host, "allocate", spied)
    for slots in (1, 3):
        made.clear()
        states = [
            pointer
            for state in open_host(MODELS / "qwen3_5_text", slots=slots).plan.states
            for pointer in state.pointers
        ]
        assert made.count(False) == (len(states) if slots > 1 else 0), (
            "but the activations of a step, which are all used"
        )
    plane = allocate(64 << 20, in_large_pages=False)
    plane[:: 16 << 20] = 1
    assert resident_bytes(plane) == 4 * mmap.PAGESIZE


def resident_bytes(array: np.ndarray) -> int:
    pages = np.zeros(-(-array.nbytes // mmap.PAGESIZE), np.uint8)
    found = ctypes.CDLL(None).mincore(
        ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), pages.ctypes.data_as(ctypes.c_char_p)
    )
    assert found == 0
    return int((pages & 1).sum()) * mmap.PAGESIZE


def test_pages_of_a_file_whose_rows_were_read_are_given_back(monkeypatch):
    model = open_host(MODELS / "llama" / "model.gguf")
    released = []
    monkeypatch.setattr(MappedFile, "release", lambda file: released.append(file.path.name))
    for position in range(2 * host.ROWS_RESIDENT + 2):
        model.forward(Step.single([1], position=position))
    assert released == ["model.gguf"] * 2
    monkeypatch.undo()
    before = model.forward(Step.single([3], position=0))
    for file in model._mapped:
        file.release()
    assert np.array_equal(model.forward(Step.single([3], position=0)), before), "and come again when they are read"


def test_small_weights_are_copied_out_of_their_file(monkeypatch):
    """With a page of a norm the system maps up to 2 MB around it, in every layer."""
    for copied in (0, weights.COPIED):
        monkeypatch.setattr(weights, "COPIED", copied)
        model = open_host(MODELS / "llama" / "model.gguf")
        rows = [model._memory[Pointer.weight(w.name)] for w in model.plan.weights if w.layout != "tile16"]
        file = model._mapped[0].data
        assert rows and any(np.may_share_memory(row, file) for row in rows) == (copied == 0)

"""L0 on the larger fixtures beside the checkout: official checkpoint layouts, GGUF, quantized GGUF."""

import numpy as np
import pytest
from model_reference import SHARED, TOLERANCE, greedy, interpreter, relative_error, state_errors, step_by_step

from hfc.step import Step

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the fixtures in {SHARED}")
DENSE, MOE = "qwen35-tiny-official", "qwen35moe-tiny-official"
CHECKPOINTS = [(DENSE, DENSE), (MOE, MOE), ("gguf/qwen35-tiny-BF16.gguf", DENSE)]
QUANTIZED = [f"qwen35-tiny-{format}" for format in ("IQ4_XS", "Q4_0", "Q4_K_M", "Q6_K", "Q8_0")] + [
    "qwen35moe-tiny-Q8_0"
]


def states_of(reference, prompt: str) -> dict[str, np.ndarray]:
    names = {"conv": "window", "recurrent": "memory", "k": "k", "v": "v"}
    found = {}
    for key in reference:
        if key.startswith(f"{prompt}.state."):
            layer, part = key.split(".")[2:]
            found[f"{layer}.{names[part]}"] = reference[key]
    return found


@pytest.mark.parametrize("prompt", ["p48", "p150"])
@pytest.mark.parametrize("checkpoint, folder", CHECKPOINTS)
def test_prompt_greedy_and_states(checkpoint, folder, prompt):
    run, reference = interpreter(SHARED / checkpoint), np.load(SHARED / folder / "reference.npz")
    tokens = reference[f"{prompt}.tokens"]
    logits = run.run(Step.single(tokens))[0]
    assert relative_error(logits, reference[f"{prompt}.prefill_logits"]) <= TOLERANCE
    if not checkpoint.endswith(".gguf"):  # a GGUF's value heads stand in another order
        assert max(state_errors(run, states_of(reference, prompt), len(tokens)).values()) <= TOLERANCE
    expected = reference[f"{prompt}.greedy_tokens"].tolist()
    found, rows = greedy(run, logits[-1], len(tokens), len(expected))
    assert found == expected
    assert relative_error(rows, reference[f"{prompt}.greedy_logits"]) <= TOLERANCE


@pytest.mark.parametrize("checkpoint, folder", CHECKPOINTS)
def test_token_by_token(checkpoint, folder):
    run, reference = interpreter(SHARED / checkpoint), np.load(SHARED / folder / "reference.npz")
    logits = step_by_step(run, reference["p48.tokens"])
    assert relative_error(logits, reference["p48.stepwise_logits"]) <= TOLERANCE


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_gguf_equals_its_dequantized_weights_in_float32(name):
    reference = np.load(SHARED / f"gguf/{name}.ref.npz")
    run = interpreter(SHARED / f"gguf/{name}.gguf", context=len(reference["tokens"]))
    logits = run.run(Step.single(reference["tokens"]))[0]
    assert relative_error(logits, reference["dequant_f32"]) <= TOLERANCE


@pytest.mark.parametrize("sequence", [0, 1])
def test_trained_hybrid(sequence):
    folder = SHARED.parent / "models/qwen35-tiny-code"
    oracle = np.load(folder / "oracle.npz")
    tokens, logits = (oracle[key][sequence] for key in ("logits_tokens", "logits_f32"))
    found = interpreter(folder, context=len(tokens)).run(Step.single(tokens))[0]
    assert relative_error(found, logits) <= TOLERANCE

"""Speculative decoding on the host is plain decoding bit by bit: every model family, every KV format, greedy and sampled."""

import numpy as np
import pytest
from model_reference import MODELS, SHARED
from speculation_cases import Always, Blocks, Guesses, tokens_of

from hfc.compiler import CompileOptions, compile_model
from hfc.formats import KV_FORMATS
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation
from hfc.step import JOURNAL_ROWS

GREEDY = Sampling(temperature=0)
SAMPLED = Sampling(temperature=0.9, repeat_penalty=1.2, seed=5)
TRAINED = SHARED.parent / "models" / "qwen35-tiny-code"
SHORT = [("qwen3_5_text", kv) for kv in KV_FORMATS] + [
    (m, "f16") for m in ("llama", "qwen3", "gemma3_text", "qwen3_5_moe_text")
]


def open_host(path, kv, ctx, draft=None):
    return load(
        compile_model(path, ["host"], CompileOptions(kv=kv, ctx=ctx, journal_rows=JOURNAL_ROWS, draft=draft)), "host", 2
    )


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("checkpoint", "kv"), SHORT)
def test_blocks_of_every_size_change_no_token(checkpoint, kv):
    model = open_host(MODELS / checkpoint, kv, 128)
    rng, accepted = np.random.default_rng(3), 0
    for sampling in (GREEDY, SAMPLED):
        prompt = rng.integers(0, model.vocab, 20)
        plain = tokens_of(model, prompt, sampling, 100)
        for chance in (0.0, 0.6, 0.95):
            drafter = lambda _: Guesses((), plain.tokens, chance, 1, model.vocab)  # noqa: E731
            found = tokens_of(
                model, prompt, sampling, 100, Speculation([drafter], model.plan.uncommitted_rows, Always())
            )
            assert found.tokens == plain.tokens and found.cycles > 5
            accepted += found.accepted
        found = tokens_of(model, prompt, sampling, 100, Speculation([NgramDrafter], model.plan.uncommitted_rows))
        assert found.tokens == plain.tokens
    assert accepted > 100


@pytest.mark.long
@pytest.mark.skipif(not TRAINED.exists(), reason="needs the trained model of ../shared/models")
@pytest.mark.parametrize("kv", KV_FORMATS)
def test_two_hundred_prompts_of_a_trained_model(kv):
    """200 prompts of 24 to 256 tokens from held-out code, 200 tokens each: prompt lookup, its trained draft in blocks of 16, and
    drafts that are right at 80 %."""
    model = open_host(TRAINED, kv, 512, TRAINED / "draft")
    with np.load(TRAINED / "oracle.npz") as file:
        texts = file["tokens"]
    rng = np.random.default_rng(0)
    rows = model.plan.uncommitted_rows
    speculations = Speculation([NgramDrafter], rows, Always()), Speculation([], rows, Blocks(16), model.plan.draft)
    for number in range(200):
        first, length = int(rng.integers(0, 200)), int(rng.integers(24, 257))
        prompt = texts[number % len(texts), first : first + length]
        plain = tokens_of(model, prompt, GREEDY, 200)
        for speculation in speculations:
            assert tokens_of(model, prompt, GREEDY, 200, speculation).tokens == plain.tokens, number
        drafter = lambda _: Guesses((), plain.tokens, 0.8, number, model.vocab)  # noqa: E731
        guessed = Speculation([drafter], rows, Always())
        assert tokens_of(model, prompt, GREEDY, 200, guessed).tokens == plain.tokens, number

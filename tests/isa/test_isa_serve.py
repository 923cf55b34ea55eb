"""Serving on a GPU whose machine code is emulated: tokens that the device chooses, limits and all, are the host's choices."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from model_reference import MODELS

from hfc.compiler import CompileOptions, compile_model, open_source
from hfc.emulated import EmulatedLauncher, EmulatedModel
from hfc.pointer import PARAMETERS, TOKENS, Pointer
from hfc.runtime.sampler import Sampling
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.upload import CheckpointWeights
from hfc.sampling import encode_rows, sampling_words
from hfc.selftest.sampling import choose_tokens
from hfc.serve.engine import Engine
from hfc.serve.grammar import Grammar, GrammarCompiler
from hfc.serve.job import Job
from hfc.serve.metrics import Metrics
from hfc.serve.parameters import AtLeast, Bias
from hfc.serve.reasoning import ThinkingBudget, Thought
from hfc.serve.scheduler import Limits
from hfc.serve.sequence import Sequence
from hfc.serve.stream import Stream

sys.path.append(str(Path(__file__).parents[1] / "serve"))
from serve_fakes import Bytes, read_all

ARCH, CONTEXT, VOCAB, STOP = "gfx1100", 64, 128, 10
TOKENIZER = Tokenizer(Bytes(), VOCAB, {STOP: "<stop>"}, eos=STOP, stop_ids=frozenset({STOP}))


class SamplingModel(EmulatedModel):
    """Chooses tokens with the plan's own sample kernel."""

    def __init__(self, bundle, weights):
        super().__init__(bundle, ARCH, weights)
        self._launcher, self.chosen = EmulatedLauncher(bundle, self.plan), 0

    def next_tokens(self, step, samplers):
        logits = np.full((self.max_outputs, self.vocab), np.nan, np.float32)
        logits[: len(samplers)] = self.forward(step)
        parameters, tokens = (
            np.full(sampling_words(self.max_outputs, self.vocab), -1, np.int32),
            np.full(self.max_outputs, -2, np.int32),
        )
        used = encode_rows(parameters, samplers, self.max_outputs, self.vocab)
        arrays = {Pointer.buffer(self.plan.logits): logits, PARAMETERS: parameters[:used], TOKENS: tokens}
        choose_tokens(self.plan, self._launcher, arrays, step)
        self.chosen += len(samplers)
        return [sampler.accept(int(t)) for sampler, t in zip(samplers, tokens)]


def requests():
    """(prompt, job fields) with fresh guides."""
    compiler = GrammarCompiler(TOKENIZER, VOCAB)
    grammar = lambda pattern: Grammar(compiler.regex(pattern, "x"), TOKENIZER, VOCAB, Thought(False))  # noqa: E731
    drawn = Sampling(temperature=1.1, top_k=0, top_p=0.9, min_p=0.01, frequency_penalty=0.5, repeat_penalty=1.2, seed=5)
    thought = ThinkingBudget(2, Thought(True), TOKENIZER, list(b"</think>"))
    return [
        ("one", {"sampling": Sampling(temperature=0)}),
        ("two three", {"sampling": drawn}),
        ("four", {"sampling": Sampling(temperature=0), "guides": (grammar("[0-9]{3}-[a-f]{2}"),)}),
        ("five five", {"sampling": drawn, "guides": (Bias({65: 9.5, 66: -100.0, 67: 3.25}), grammar("[A-F ]{4}"))}),
        ("six", {"sampling": drawn, "guides": (AtLeast(5, frozenset({STOP})), Bias({STOP: 50.0}))}),
        ("seven", {"sampling": Sampling(temperature=0), "guides": (thought,)}),
    ]


async def serve(model, asked, cache_bytes=1 << 20):
    """asked: (prompt, job fields) of each request; three run at a time."""
    engine = Engine(
        model, Limits(3, model.max_rows, model.max_outputs, CONTEXT, prefill_rows=8), cache_bytes, Metrics()
    )
    loop, sequences = asyncio.get_running_loop(), []
    for prompt, fields in asked:
        job = Job(tuple(prompt.encode()), **{"max_tokens": 7, "stop_ids": TOKENIZER.stop_ids, **fields})
        sequences.append(Sequence(job, TOKENIZER, Stream(loop, engine.resume)))
    engine.submit(sequences)
    ends = [await read_all(sequence) for sequence in sequences]
    engine.close()
    assert not engine.failure, engine.failure
    return ends, [sequence.tokens for sequence in sequences]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["llama", "qwen3_5_text"])
def test_what_a_device_chooses_is_what_the_host_would_have(name, monkeypatch):
    # an emulated step takes its time
    monkeypatch.setattr("serve_fakes.asyncio.wait_for", lambda awaitable, timeout: awaitable)
    bundle = compile_model(MODELS / name, [ARCH], CompileOptions(ctx=CONTEXT, slots=3, max_rows=16))
    weights = CheckpointWeights(open_source(MODELS / name).checkpoint, CONTEXT)
    device = SamplingModel(bundle, weights)
    found, expected = (
        asyncio.run(serve(device, requests())),
        asyncio.run(serve(EmulatedModel(bundle, ARCH, weights), requests())),
    )
    assert found == expected
    texts = [text for (text, _), _ in zip(*found)]
    assert len(texts[2]) == 6 and texts[2][3] == "-" and set(texts[3]) <= set("ACDEF ") and texts[5][2:] == "</thi"
    assert device.chosen == sum(map(len, found[1])), "no logits were copied for a choice"


class Remembering(SamplingModel):
    """Keeps the bits of all logits by the text that they follow."""

    def __init__(self, bundle, weights):
        super().__init__(bundle, weights)
        self.texts, self.logits, self.different = np.zeros((self.slots, CONTEXT), np.int32), {}, set()

    def forward(self, step):
        found, wanted = super().forward(step), dict(zip(step.output_rows.tolist(), range(len(step.output_rows))))
        for segment in step.segments:
            for row in range(segment.row, segment.row + segment.rows):
                position = segment.position + row - segment.row
                self.texts[segment.slot, position] = step.tokens[row]
                if row in wanted:
                    text = tuple(self.texts[segment.slot, : position + 1].tolist())
                    if self.logits.setdefault(text, found[wanted[row]].tobytes()) != found[wanted[row]].tobytes():
                        self.different.add(text)
        return found


@pytest.mark.long
@pytest.mark.parametrize("name", ["llama", "qwen3_5_text"])
def test_logits_do_not_depend_on_neighbours(name, monkeypatch):
    """Six texts in three slots and each alone, prompts in pieces of eight rows beside others that decode: the same bits."""
    monkeypatch.setattr("serve_fakes.asyncio.wait_for", lambda awaitable, timeout: awaitable)
    bundle = compile_model(MODELS / name, [ARCH], CompileOptions(ctx=CONTEXT, slots=3, max_rows=32))
    model = Remembering(bundle, CheckpointWeights(open_source(MODELS / name).checkpoint, CONTEXT))
    texts = ["one", "two of them that wait", "three", "a fourth, which is longer", "five", "one and a half"]

    asked = [(text, {"max_tokens": 6, "stop_ids": frozenset(), "sampling": Sampling(temperature=0)}) for text in texts]
    asyncio.run(serve(model, asked, 0))
    together = len(model.logits)
    for one in asked:
        asyncio.run(serve(model, [one], 0))
    assert not model.different
    assert len(model.logits) == together == 6 * len(texts)

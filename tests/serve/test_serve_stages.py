"""Serving through a pipeline: sequences on their way at a time, and the answers of one device."""

import asyncio
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from model_reference import MODELS
from serve_fakes import Bytes, read_all

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.pipeline.model import StagedModel
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.drafts import speculation_for
from hfc.runtime.tokenizer import Tokenizer
from hfc.serve.engine import Engine
from hfc.serve.grammar import Grammar, GrammarCompiler
from hfc.serve.job import Job
from hfc.serve.metrics import Metrics
from hfc.serve.reasoning import Thought
from hfc.serve.scheduler import Limits
from hfc.serve.sequence import Sequence
from hfc.serve.stream import Stream

CONTEXT, VOCAB, STOP = 64, 128, 10
TOKENIZER = Tokenizer(Bytes(), VOCAB, {STOP: "<stop>"}, eos=STOP, stop_ids=frozenset({STOP}))
# the bundle of tests/test_stages.py
OPTIONS = CompileOptions(ctx=CONTEXT, slots=3, max_rows=32, journal_rows=16, taps=("hidden[0]", "last_hidden"))
TWO = ((0, 0), (1, 2))


def model_of(stages=(), devices="host"):
    name, archs = MODELS / "qwen3_5_text", ["host"] * max(1, len(stages))
    return load(compile_model(name, archs, replace(OPTIONS, stages=stages)), devices, 1)


def requests():
    compiler = GrammarCompiler(TOKENIZER, VOCAB)
    grammar = Grammar(compiler.regex("[0-9]{3}-[a-f]{2}", "x"), TOKENIZER, VOCAB, Thought(False))
    drawn = Sampling(temperature=1.1, top_p=0.9, seed=5, frequency_penalty=0.5)
    long = "a text that is longer than a step"
    return [
        ("one one one one", {}),
        (long + " holds", {}),
        ("two three", {"sampling": drawn}),
        ("four", {"guides": (grammar,)}),
        (long + " holds, and goes on", {}),
        (long + ", then another", {"pool": "mean", "max_tokens": 0}),
        ("one one one one", {"sampling": drawn, "logprobs": 2}),
    ]


async def serve(model, draft="off", cache_bytes=1 << 20):
    limits = Limits(3, model.max_rows, model.max_outputs, CONTEXT, prefill_rows=8)
    engine = Engine(model, limits, cache_bytes, Metrics(), 16, speculation=speculation_for(model.plan, draft))
    loop, sequences = asyncio.get_running_loop(), []
    for prompt, fields in requests():
        chosen = {"max_tokens": 9, "stop_ids": TOKENIZER.stop_ids, "sampling": Sampling(temperature=0), **fields}
        sequences.append(Sequence(Job(tuple(prompt.encode()), **chosen), TOKENIZER, Stream(loop, engine.resume)))
    engine.submit(sequences)
    ends = [await read_all(sequence) for sequence in sequences]
    engine.close()
    assert not engine.failure and not engine.restarts, engine.last_error
    return ends, [sequence.tokens for sequence in sequences], sequences[5].pooled.values


class Watched(StagedModel):
    """Counts the steps that are on their way at a time."""

    most = 0

    def start(self, step, samplers=None):
        found = super().start(step, samplers)
        self.flying = [f for f in getattr(self, "flying", []) if not f.done()] + [found]
        self.most = max(self.most, len(self.flying))
        return found


@pytest.mark.parametrize("draft", ["off", "ngram"])
def test_answers_are_those_of_one_device(draft):
    """Batches, chunks of prompts, a prefix cache with snapshots, grammars, drafts, log probabilities, pooling."""
    one, two = model_of(), Watched(model_of(TWO, "host,host").stages)
    try:
        expected, found = (asyncio.run(serve(model, draft)) for model in (one, two))
        assert found[:2] == expected[:2]
        np.testing.assert_array_equal(found[2], expected[2])
        assert two.most == two.depth == 2
    finally:
        two.close()


def test_answers_of_ranks_are_those_of_one_device():
    """Tensor parallelism adds in another order: the same tokens, and the same bits each time."""
    name, options = MODELS / "qwen3_5_text", replace(OPTIONS, tensor_parallel=2)
    one, two = model_of(), load(compile_model(name, ["host"], options), "host,host", 1)
    try:
        expected, found, again = (asyncio.run(serve(model, "ngram")) for model in (one, two, two))
        assert found[1] == expected[1] and again[:2] == found[:2]
        np.testing.assert_array_equal(again[2], found[2])
        np.testing.assert_allclose(found[2], expected[2], rtol=5e-3, atol=1e-4)
    finally:
        two.close()


@pytest.mark.long
def test_a_stage_that_disappears_fails_what_ran_and_no_other():
    two = model_of(TWO, "host,process:host")

    async def scene():
        engine = Engine(two, Limits(1, 32, 4, CONTEXT), 1 << 20, Metrics())
        loop = asyncio.get_running_loop()
        jobs = [
            Job(tuple(b"abc"), max_tokens=n, sampling=Sampling(temperature=0), stop_ids=frozenset()) for n in (50, 5)
        ]
        first, waiting = (Sequence(job, TOKENIZER, Stream(loop, engine.resume)) for job in jobs)
        engine.submit([first, waiting])
        while not first.tokens:
            await asyncio.sleep(0.01)
        os.kill(two.stages[1].pid, signal.SIGKILL)
        ends = [await read_all(sequence) for sequence in (first, waiting)]
        engine.close()
        return ends, waiting.tokens, engine.restarts, engine.failure

    try:
        ((_, failed), (_, well)), tokens, restarts, failure = asyncio.run(scene())
        assert failed.reason == "error" and "stage host:1-2: its process has ended (signal 9)" in failed.message
        assert well.reason == "length" and len(tokens) == 5 and restarts == 1 and failure is None
    finally:
        two.close()

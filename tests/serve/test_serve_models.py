"""Real plans on the host: a warm request gives the tokens of a cold one, for dense, hybrid and MoE models and KV formats."""

import asyncio

import numpy as np
import pytest
from model_reference import MODELS
from serve_fakes import GREEDY, TOKENIZER, read_all

from hfc.compiler import CompileOptions, compile_model
from hfc.formats import KV_FORMATS
from hfc.runtime.executor import load
from hfc.runtime.generate import Generation, Request
from hfc.runtime.slots import slot_states
from hfc.serve.cache_files import CacheFiles
from hfc.serve.engine import Engine
from hfc.serve.job import Job, Piece
from hfc.serve.metrics import Metrics
from hfc.serve.scheduler import Limits
from hfc.serve.sequence import Sequence
from hfc.serve.stream import Stream
from hfc.step import Step

CONTEXT = 192


def open_model(name, kv="f16", slots=2):
    return load(
        compile_model(MODELS / name, ["host"], CompileOptions(kv=kv, ctx=CONTEXT, slots=slots, max_rows=48)), "host", 2
    )


def tokens_of(model, count, seed):
    return tuple(np.random.default_rng(seed).integers(0, min(model.vocab, 250), count).tolist())


def cold(model, prompt, count):
    """The plain text loop on the same plan."""
    generation = Generation(model, TOKENIZER, Request(prompt, GREEDY, count))
    list(generation)
    return generation.statistics.tokens


async def turn(engine, prompt, count):
    sequence = Sequence(Job(prompt, GREEDY, count), TOKENIZER, Stream(asyncio.get_running_loop()))
    engine.submit([sequence])
    await read_all(sequence)
    return sequence


NAMES = ("llama", "qwen3_5_text", "qwen3_5_moe_text", "gemma3_text")  # dense, hybrid, experts, sliding windows
# Each format with one model in the ordinary run, f16 with each; the rest on demand.
ORDINARY = {(NAMES[i % len(NAMES)], kv) for i, kv in enumerate(sorted(KV_FORMATS))} | {(name, "f16") for name in NAMES}
CASES = [
    pytest.param(name, kv, marks=() if (name, kv) in ORDINARY else pytest.mark.long)
    for name in NAMES
    for kv in sorted(KV_FORMATS)
]


@pytest.mark.sampled(9)
@pytest.mark.parametrize(("name", "kv"), CASES)
def test_a_conversation_is_token_exact_and_prefills_new_tokens_only(name, kv):
    model, alone = open_model(name, kv), open_model(name, kv, slots=1)

    async def main():
        engine = Engine(
            model, Limits(2, model.max_rows, model.max_outputs, CONTEXT, prefill_rows=16), 1 << 26, Metrics()
        )
        prompt, known = tokens_of(model, 70, 1), 0
        for number in range(10):
            computed = engine.metrics.counts["prefill_tokens"]
            neighbour = asyncio.ensure_future(turn(engine, tokens_of(model, 20 + number, 100 + number), 12))
            sequence, other = await turn(engine, prompt, 5), await neighbour
            computed = engine.metrics.counts["prefill_tokens"] - computed
            assert sequence.tokens == cold(alone, prompt, 5), number
            assert sequence.usage.cached == known, "every token of the turn before is known"
            assert computed == len(prompt) - known + len(other.prompt) - other.usage.cached, (
                "and nothing else is computed"
            )
            known = len(prompt) + 4
            prompt = (*prompt, *sequence.tokens, *tokens_of(model, 4, number))
        engine.close()

    asyncio.run(main())


SPILLED = [
    pytest.param(name, kv, marks=() if (name, kv) == ("qwen3_5_text", "asym3") else pytest.mark.long)
    for name in NAMES
    for kv in sorted(KV_FORMATS)
]


@pytest.mark.parametrize(("name", "kv"), SPILLED)
def test_spilled_and_restored_state_is_that_of_a_cold_run_bit_for_bit(name, kv, tmp_path):
    """Three conversations in memory for one, two turns; then another server on the same folder, one more."""
    model, alone = open_model(name, kv), open_model(name, kv, slots=1)
    states, plain = slot_states(model), slot_states(alone)
    memory = 100 * states.kv_bytes + states.recurrent_bytes

    async def check(engine, prompt):
        sequence = await turn(engine, prompt, 5)
        assert sequence.tokens == cold(alone, prompt, 5)
        length = len(prompt) + 4
        np.testing.assert_array_equal(states.read_kv(sequence.slot, 0, length), plain.read_kv(0, 0, length))
        np.testing.assert_array_equal(states.read_recurrent(sequence.slot), plain.read_recurrent(0))
        return sequence

    async def server(prompts, turns):
        files = CacheFiles(tmp_path, "model", 1 << 26)
        engine = Engine(
            model, Limits(2, model.max_rows, model.max_outputs, CONTEXT), memory, Metrics(), cache_files=files
        )
        for number in range(turns):
            for i, prompt in enumerate(prompts):
                sequence = await check(engine, prompt)
                prompts[i] = (*prompt, *sequence.tokens, *tokens_of(model, 4, number + i))
        engine.close()  # the engine's thread may still put away the last answer
        assert engine.gauges()["cache_bytes"] <= memory
        return sequence.usage.cached, engine.metrics.cache.loads

    prompts = [tokens_of(model, 70, 40 + i) for i in range(3)]
    cached, loads = asyncio.run(server(prompts, 2))
    assert cached == 74 and loads > 0, "spilled"
    cached, loads = asyncio.run(server(prompts, 1))
    assert cached == 83 and loads > 0, "restored"


@pytest.mark.parametrize("name", ["llama", "qwen3_5_text"])
def test_slot_states_travel_between_slots(name):
    model = open_model(name)
    states, tokens = slot_states(model), np.array(tokens_of(model, 90, 3), np.int32)
    for at in (0, 48):
        model.forward(Step.single(tokens[at : min(at + 48, 80)], position=at, slot=0, outputs="last"))
    states.write_kv(1, 0, states.read_kv(0, 0, 64), 64, 64)
    states.write_kv(1, 64, states.read_kv(0, 64, 90), 26, 16)
    states.write_recurrent(1, states.read_recurrent(0))
    assert states.recurrent_bytes == (
        0 if name == "llama" else len(states.read_recurrent(0)) or pytest.fail("no state")
    )
    a, b = (model.forward(Step.single(tokens[80:], position=80, slot=slot)) for slot in (0, 1))
    np.testing.assert_array_equal(a, b)


def test_neighbours_and_sampling_do_not_cross():
    model = open_model("qwen3_5_text")

    async def main():
        engine = Engine(model, Limits(2, model.max_rows, model.max_outputs, CONTEXT), 0, Metrics())
        prompts = [tokens_of(model, 10 + 7 * i, i) for i in range(6)]
        together = await asyncio.gather(*(turn(engine, p, 8) for p in prompts))
        for prompt, sequence in zip(prompts, together):
            assert (await turn(engine, prompt, 8)).tokens == sequence.tokens
        engine.close()

    asyncio.run(main())


def test_pieces_carry_their_tokens():
    model = open_model("llama")

    async def main():
        engine = Engine(model, Limits(2, model.max_rows, model.max_outputs, CONTEXT), 0, Metrics())
        sequence = Sequence(
            Job(tokens_of(model, 9, 9), GREEDY, 6, logprobs=3), TOKENIZER, Stream(asyncio.get_running_loop())
        )
        engine.submit([sequence])
        pieces = []
        while len(sequence.tokens) < 6 or not pieces:
            pieces += [e for e in await sequence.stream.read() if isinstance(e, Piece)]
        pieces = [p for p in pieces if p.token is not None]
        assert [p.token for p in pieces] == sequence.tokens[: len(pieces)]
        assert all(p.logprob.top[0] == (p.token, p.logprob.logprob) and len(p.logprob.top) == 3 for p in pieces), (
            "greedy takes the best"
        )
        engine.close()

    asyncio.run(main())

"""Real plans with drafts of their own in the engine: clients side by side, turns, cached beginnings, and what the draft knows of them."""

import asyncio

import pytest
from model_reference import MODELS
from serve_fakes import GREEDY, TOKENIZER, read_all
from test_serve_models import cold, tokens_of

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.governor import PLAIN, BlockChoice, Governor
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation
from hfc.serve.engine import Engine
from hfc.serve.job import Job
from hfc.serve.metrics import Metrics
from hfc.serve.scheduler import Limits
from hfc.serve.sequence import Sequence
from hfc.serve.stream import Stream
from hfc.step import JOURNAL_ROWS

CONTEXT, DRAFTS = 224, MODELS.parent / "drafts"
KINDS = [("dflash", "f16"), ("dflash", "q4"), ("dflash2", "f16")]


class Largest(Governor):
    """Lets the plan's own draft guess whenever it can, or whoever else offers something."""

    def choose(self, track, offers, most, others=0, others_tokens=None):
        offer = max(offers, key=lambda o: (o.in_cycle, o.most), default=None)
        return BlockChoice(min(most, offer.most), offer) if offer and min(most, offer.most) > 0 else PLAIN

    hope = True

    def has_hope(self, offer):
        return self.hope


def open_pair(draft, kv, slots):
    bundle = compile_model(
        MODELS / "qwen3_5_text",
        ["host"],
        CompileOptions(kv=kv, ctx=CONTEXT, slots=slots, max_rows=48, draft=DRAFTS / draft),
    )
    return load(bundle, "host", 2)


def open_plain(kv):
    return load(
        compile_model(
            MODELS / "qwen3_5_text",
            ["host"],
            CompileOptions(kv=kv, ctx=CONTEXT, max_rows=48, journal_rows=JOURNAL_ROWS),
        ),
        "host",
        2,
    )


def engine_of(model, cache_bytes=1 << 26, governor=None):
    limits = Limits(model.slots, model.max_rows, model.max_outputs, CONTEXT, prefill_rows=16)
    speculation = Speculation([NgramDrafter], model.plan.uncommitted_rows, governor or Largest(), model.plan.draft)
    return Engine(model, limits, cache_bytes, Metrics(), speculation=speculation)


async def answer(engine, prompt, count, sampling=GREEDY):
    sequence = Sequence(Job(prompt, sampling, count), TOKENIZER, Stream(asyncio.get_running_loop()))
    engine.submit([sequence])
    await read_all(sequence)
    return sequence


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("draft", "kv"), KINDS)
def test_clients_and_turns_get_plain_text(draft, kv):
    model, alone = open_pair(draft, kv, slots=3), open_plain(kv)

    async def talk(engine, client):
        prompt = tokens_of(model, 20 + 9 * client, client)
        for number in range(3):
            sequence = await answer(engine, prompt, 12 + client)
            assert sequence.tokens == cold(alone, prompt, 12 + client), (client, number)
            assert sequence.usage.cycles and sequence.usage.drafted
            prompt = (*prompt, *sequence.tokens, *tokens_of(model, 5, 10 * client + number))

    async def main():
        engine = engine_of(model)
        await asyncio.gather(*(talk(engine, client) for client in range(5)))
        assert engine.metrics.counts["draft_cycles"] > 30
        engine.close()

    asyncio.run(main())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("hoped", [True, False], ids=["asked before", "not asked before"])
@pytest.mark.parametrize(("draft", "kv"), KINDS)
def test_guesses_behind_a_cached_beginning_are_those_behind_a_computed_one(draft, kv, hoped):
    """What the draft took down of a prompt lies in the prefix cache too, and comes back after others had the slots; also where the
    draft was not asked when that prompt ran."""

    async def ask(cache_bytes, before):
        model, governor, guesses = open_pair(draft, kv, slots=2), Largest(), []
        model.draft = recorded(model.draft, guesses)
        engine = engine_of(model, cache_bytes, governor)
        await answer(engine, tokens_of(model, 5, 1), 2)  # the first sequence is asked in any case
        governor.hope = hoped
        for count, seed in before:
            await answer(engine, tokens_of(model, count, seed), 4)
        governor.hope = True
        guesses.clear()
        sequence = await answer(engine, (*tokens_of(model, *beginning), *tokens_of(model, 6, 8)), 40)
        engine.close()
        return sequence, guesses

    # longer: nothing of the beginning stays in a slot
    beginning, others = (96, 7), [(110 + i, 20 + i) for i in range(4)]
    cold_one, computed = asyncio.run(ask(0, others))
    warm_one, restored = asyncio.run(ask(1 << 26, [beginning, *others]))
    assert cold_one.usage.cached == 0 and warm_one.usage.cached >= 64
    assert warm_one.tokens == cold_one.tokens and restored == computed and len(computed) > 5


def recorded(guess, guesses):
    """A model's `draft` that also writes down where it was asked and what it guessed."""

    def draft(step):
        tokens, logits = guess(step)
        guesses.append((int(step.segments[0].position), tokens.tolist()))
        return tokens, logits

    return draft


def test_sampled_answers_with_an_own_draft_are_plain_ones():
    model, alone = open_pair("dflash", "f16", slots=2), open_plain("f16")
    sampling = Sampling(temperature=0.8, repeat_penalty=1.1, seed=3)

    async def main(used):
        engine = (
            engine_of(used)
            if used is model
            else Engine(used, Limits(1, used.max_rows, used.max_outputs, CONTEXT), 0, Metrics())
        )
        found = [(await answer(engine, tokens_of(used, 25, seed), 30, sampling)).tokens for seed in range(3)]
        engine.close()
        return found

    assert asyncio.run(main(model)) == asyncio.run(main(alone))

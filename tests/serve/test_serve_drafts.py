"""Drafts in the server change no answer: batches, turns, snapshots, cancellation, grammars, penalties, devices."""

import asyncio
import random
from dataclasses import replace

import httpx
import numpy as np
import pytest
from serve_fakes import EOS, VOCAB, Device, FakeModel, ask, expected, make_engine, make_served, read_all, sequence_of

from hfc.plan import DraftPlan as OwnDraft
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.drafter import Draft
from hfc.runtime.speculate.governor import PLAIN, BlockChoice, Governor
from hfc.runtime.speculate.speculator import Speculation
from hfc.serve.app import make_app
from hfc.serve.metrics import Metrics
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

MASK = 259


class Foresight:
    """A drafter that knows the fake model, and errs now and then."""

    name = "foresight"

    def __init__(self, tokens, recurrent=True, chance=0.8):
        self.tokens, self.recurrent, self.chance = list(tokens), recurrent, chance
        self.rng = random.Random(sum(self.tokens))

    def extend(self, tokens):
        self.tokens += [int(t) for t in tokens]

    def draft(self, most):
        if most < 1:
            return None
        future = expected(self.tokens, self.rng.randint(1, most), self.recurrent).encode()
        return Draft(tuple(t if self.rng.random() < self.chance else self.rng.randrange(VOCAB - 1) for t in future))


class Steady(Governor):
    """Decides as it does, by a clock that no other process disturbs."""

    def settle(self, kind, seconds, results):
        super().settle(kind, 1 + 0.1 * sum(choice.drafts for _, choice, _ in results), results)


class Always(Steady):
    def choose(self, track, offers, most, others=0, others_tokens=None):
        return BlockChoice(min(most, offers[0].most), offers[0]) if offers and min(most, offers[0].most) > 0 else PLAIN


def drafting(recurrent, rows=6, governor=None, own=None, chance=0.8):
    drafters = [] if own else [lambda tokens: Foresight(tokens, recurrent, chance)]
    return Speculation(drafters, rows, governor or Always(), own)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


class Guessing(FakeModel):
    """Has a draft of its own: places of guessed segments hold MASK until it fills them."""

    drafts = 0

    def draft(self, step):
        tokens, self.drafts = step.tokens.copy(), self.drafts + 1
        for i, s in enumerate(step.segments):
            places = slice(s.row + 1, s.row + s.rows)
            assert ((step.tokens[places] == MASK).all() and not s.commit) == (i < step.guessed) or s.rows == 1
            if i < step.guessed:
                seen = [*self.keys[s.slot, : s.position], step.tokens[s.row]]
                right = list(expected(seen, s.rows - 1, self.memory is not None).encode())
                tokens[places] = [t if random.random() < 0.7 else 5 for t in right]
        return tokens, None


class Cycling(Guessing, Device):
    cycles = 0

    def cycle(self, step, samplers):
        self.cycles += 1
        tokens, _ = self.draft(step)
        return tokens.tolist(), self.next_tokens(replace(step, tokens=tokens), samplers)


OWN = OwnDraft("own", 5, MASK, 32, "logits", "tokens")


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("make", [FakeModel, Device, Guessing, Cycling])
def test_many_clients_each_get_their_own_answer(make, recurrent):
    async def main():
        model = make(slots=3, recurrent=recurrent, max_outputs=12)
        own = OWN if issubclass(make, Guessing) else None
        engine = make_engine(model, snapshot_every=8, speculation=drafting(recurrent, own=own))
        rng = random.Random(1)
        shared = "x" * 70
        prompts = [shared[: rng.choice([0, 40, 64, 70])] + f"prompt {i % 9} " * rng.randint(1, 6) for i in range(40)]
        answers = await asyncio.gather(*(ask(engine, p, 5 + 3 * (i % 7)) for i, p in enumerate(prompts)))
        for i, (prompt, (answer, sequence)) in enumerate(zip(prompts, answers)):
            assert answer == expected(prompt.encode(), 5 + 3 * (i % 7), recurrent), i
            assert sequence.usage.completion == 5 + 3 * (i % 7) and sequence.usage.accepted <= sequence.usage.drafted
        assert sum(s.usage.accepted for _, s in answers) > 100 and model.verified > 50
        assert sum(s.usage.cached for _, s in answers) > 0
        assert any(len(step) > 1 and max(n for _, n, _ in step) > 1 for step in model.steps), "drafts ran beside others"
        if make is Cycling:
            assert model.cycles > 20
        engine.close()

    run(main())


@pytest.mark.parametrize("recurrent", [False, True])
def test_turns_go_on_from_states_that_drafts_left(recurrent):
    async def main():
        model = FakeModel(slots=2, recurrent=recurrent, max_outputs=8, context=512)
        engine = make_engine(model, snapshot_every=16, speculation=drafting(recurrent))
        text = "first turn"
        for turn in range(6):
            answer, sequence = await ask(engine, text, 30)
            assert answer == expected(text.encode(), 30, recurrent)
            assert turn == 0 or sequence.usage.cached >= len(text) - 12, "the slot's state was usable"
            text += answer + f" and {turn}"
        engine.close()

    run(main())


def test_a_cancelled_answer_leaves_a_state_that_others_can_use():
    async def main():
        model = FakeModel(slots=1, recurrent=True, max_outputs=8, context=512)
        engine = make_engine(model, speculation=drafting(True))
        for i in range(8):
            sequence = sequence_of(engine, "begin", 400)
            engine.submit([sequence])
            for _ in range(i + 1):
                await sequence.stream.read()
            engine.cancel([sequence])
            await read_all(sequence)
            held = bytes(sequence.history.tolist()).decode()
            follow = held + "!"
            answer, other = await ask(engine, follow, 10)
            assert answer == expected(follow.encode(), 10, True) and other.usage.cached >= len("begin")
        engine.close()

    run(main())


class Vowels:
    """A guide that forbids the letters a to m, and ends after 25 tokens."""

    suits_device = False

    def __init__(self):
        self.seen = 0

    def limit(self, logits):
        out = logits.copy()
        out[97:110] = -np.inf
        return out

    def accept(self, token):
        assert not 97 <= token < 110, "a forbidden draft was emitted"
        self.seen += 1
        return self.seen == 25


@pytest.mark.parametrize("make", [FakeModel, Device])
def test_drafts_that_a_grammar_forbids_are_not_emitted(make):
    async def main():
        found = []
        for speculation in (None, drafting(True, chance=1.0)):
            model = make(slots=2, recurrent=True, max_outputs=8)
            engine = make_engine(model, speculation=speculation)
            answers = await asyncio.gather(
                ask(engine, "guided", 60, guides=(Vowels(),)),
                ask(engine, "free", 60),
                ask(engine, "more", 60, logprobs=2),
            )
            found.append([(text, s.usage.completion) for text, s in answers])
            engine.close()
        assert found[0] == found[1] and found[0][0][1] == 25

    run(main())


def test_sampled_text_and_penalties_are_as_without_drafts():
    async def main():
        found = []
        for speculation in (None, drafting(False)):
            engine = make_engine(FakeModel(slots=3, max_outputs=12), speculation=speculation)
            samplings = [Sampling(temperature=0.8, seed=i, repeat_penalty=1.0 + 0.2 * (i % 2)) for i in range(6)]
            answers = await asyncio.gather(*(ask(engine, f"text {i}", 40, sampling=s) for i, s in enumerate(samplings)))
            found.append([text for text, _ in answers])
            engine.close()
        assert found[0] == found[1]

    run(main())


def test_penalties_keep_a_device_from_guessing_but_not_from_decoding():
    async def main():
        model = Cycling(slots=1, recurrent=True, max_outputs=8)
        engine = make_engine(model, speculation=drafting(True, own=OWN))
        _, sequence = await ask(engine, "text", 20, sampling=Sampling(temperature=0, repeat_penalty=1.5))
        assert not model.cycles and sequence.usage.completion == 20
        engine.close()

    run(main())


@pytest.mark.parametrize("stop", ["e", "q", "zz"])
def test_stops_inside_a_block(stop):
    async def main():
        found = []
        for speculation in (None, drafting(True, chance=1.0)):
            engine = make_engine(FakeModel(slots=1, recurrent=True, max_outputs=8), speculation=speculation)
            for options in (dict(stop_texts=(stop,)), dict(stop_ids=frozenset({ord(stop[0]), EOS}))):
                text, sequence = await ask(engine, "stop me", 60, **options)
                found.append((speculation is None, text, sequence.usage.completion))
                follow = bytes(sequence.history.tolist()).decode() + "?"
                assert (await ask(engine, follow, 5))[0] == expected(follow.encode(), 5, True)
            engine.close()
        assert [f[1:] for f in found if f[0]] == [f[1:] for f in found if not f[0]]

    run(main())


def test_the_governor_decides_and_metrics_count():
    async def main():
        metrics = Metrics("fake")
        engine = make_engine(
            FakeModel(slots=2, recurrent=True, max_outputs=8),
            metrics=metrics,
            speculation=drafting(True, governor=Steady(), chance=1.0),
        )
        answers = await asyncio.gather(*(ask(engine, f"text {i}", 120) for i in range(2)))
        for i, (text, sequence) in enumerate(answers):
            assert text == expected(f"text {i}".encode(), 120, True)
            assert sequence.usage.drafting.startswith("foresight") and sequence.usage.cycles > 10
        lines = metrics.meters.text().decode()
        counted = {
            name: float(lines.split(f'hfc_{name}_total{{model="fake"}} ')[1].split("\n")[0])
            for name in ("draft_cycles", "drafted_tokens", "accepted_tokens")
        }
        assert counted == {
            name: sum(getattr(s.usage, field) for _, s in answers)
            for name, field in (
                ("draft_cycles", "cycles"),
                ("drafted_tokens", "drafted"),
                ("accepted_tokens", "accepted"),
            )
        }
        engine.close()

    run(main())


def test_usage_counts_drafts():
    engine = make_engine(FakeModel(context=512, max_outputs=8), speculation=drafting(False, chance=0.9))
    app = make_app(Models([make_served(engine)]), ServerSettings())

    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            body = {"model": "fake", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 40}
            return (await client.post("/v1/chat/completions", json=body)).json()

    try:
        usage = run(main())["usage"]
        details, speculation = usage["completion_tokens_details"], usage["speculation"]
        assert speculation["tokens_per_cycle"] == round(
            1 + details["accepted_prediction_tokens"] / speculation["cycles"], 3
        )
        assert speculation["reason"]
        assert details["accepted_prediction_tokens"] > 10 and details["rejected_prediction_tokens"] > 0
    finally:
        engine.close()

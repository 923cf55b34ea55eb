"""Who waits for whom: writers keep their rhythm beside prompts, prompts end one after the other, priority, slots that were used first."""

import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from serve_fakes import FakeModel, FakeSlots, Says, ask, make_engine, read_all, sequence_of
from test_serve_api import app_of, call

from hfc.runtime.decoding.state import Phase
from hfc.serve import scheduler as scheduling
from hfc.serve import sequence as sequences
from hfc.serve import stepper as stepping
from hfc.serve.pace import FIRST_ROWS, PROBE_EVERY, Pace
from hfc.serve.scheduler import Limits, Scheduler
from hfc.serve.served import ServerSettings


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60))


class Clock:
    """Time that passes in steps alone."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        for module in (stepping, scheduling, sequences):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


class Timed(FakeModel):
    """A step takes as long as its rows and what they look back on, in seconds of a clock; noise: how much that varies."""

    def __init__(self, clock, step_s=3e-3, row_s=4e-4, context_s=2e-7, noise=0.1, **options):
        super().__init__(**options)
        self._clock, self._costs, self._noise = clock, (step_s, row_s, context_s), noise
        self._rng, self.ends = np.random.default_rng(1), {}

    def forward(self, step):
        step_s, row_s, context_s = self._costs
        seconds = step_s + sum(row_s * s.rows + context_s * s.rows * s.position for s in step.segments)
        self._clock.now += seconds * (1 + self._noise * self._rng.random())
        for segment in step.segments:
            self.ends.setdefault(segment.slot, []).append(self._clock.now)
        return super().forward(step)


@pytest.mark.parametrize("writers", [1, 8])
def test_writers_keep_their_rhythm_beside_a_long_prompt(monkeypatch, writers):
    async def main():
        gate, clock = threading.Semaphore(0), Clock(monkeypatch)

        def copied(self, slot, start, end):
            """Keys and values into the prefix cache, 23 KB a token at 0.5 GB/s: steps wait for it."""
            clock.now += 46e-6 * (end - start)
            return read_kv(self, slot, start, end)

        read_kv = FakeSlots.read_kv
        monkeypatch.setattr(FakeSlots, "read_kv", copied)
        model = Timed(clock, slots=writers + 1, context=4096, max_rows=512, max_outputs=16, gate=gate)
        engine = make_engine(model, prefill_rows=None)
        answers = [sequence_of(engine, f"writer {i}", 260) for i in range(writers)]
        for sequence in answers:
            engine.submit([sequence])
        gate.release(40)
        while len(model.steps) < 40:
            await asyncio.sleep(0.01)
        engine.submit([sequence_of(engine, "p" * 2000, 1)])
        gate.release(2000)
        for sequence in answers:
            await read_all(sequence)
        gaps = np.diff(model.ends[answers[0].slot])[10:]
        assert np.percentile(gaps, 95) <= 3 * np.median(gaps) and gaps.max() <= 4 * np.median(gaps)
        beside = [rows for step in model.steps for _, rows, _ in step if rows > 1][writers:]
        assert len(beside) < 2000 / 8, "and the prompt goes on with more than a few rows a step"
        engine.close()

    run(main())


def test_rows_follow_the_measured_times():
    pace = Pace(1000)
    assert pace.rows(0) == 1000 and pace.rows(2) == 0, "what decoding costs is measured first"
    for _ in range(3):
        pace.stepped(2, 0, 0.010)
    assert pace.rows(2) == FIRST_ROWS
    pace.stepped(2, 16, 0.010 + 16 * 1e-4)
    assert 149 <= pace.rows(2) <= 150, "1.5 times ten milliseconds"
    for _ in range(40):
        pace.stepped(2, 16, 0.010 + 16 * 1e-2)
    assert pace.rows(2) == 1, "rows that became dear"
    assert pace.rows(2, 20) in (23, 24), "many prompts for each writer may make a step 25 times as long"
    for _ in range(PROBE_EVERY):
        pace.stepped(2, 16, 0.2)
    assert pace.rows(2) == 0, "now and then decoding alone is measured again"


def test_equal_prompts_end_one_after_the_other_and_a_short_one_between(monkeypatch):
    async def main():
        gate, clock = threading.Semaphore(0), Clock(monkeypatch)
        model = Timed(clock, slots=9, context=1024, max_rows=64, max_outputs=16, gate=gate)
        engine = make_engine(model)
        prompts = [sequence_of(engine, f"{i}" * 600, 1) for i in range(8)]
        for sequence in prompts:
            engine.submit([sequence])
        gate.release(2)
        while len(model.steps) < 2:
            await asyncio.sleep(0.01)
        short = sequence_of(engine, "shorty" * 10, 1)
        engine.submit([short])
        gate.release(500)
        for sequence in (*prompts, short):
            await read_all(sequence)
        first = [s.usage.timings["first_token_s"] for s in prompts]
        assert first == sorted(first) and np.mean(first) < 0.62 * first[-1]
        assert short.usage.timings["first_token_s"] < 0.25 * first[0] + 0.1
        engine.close()

    run(main())


def test_priority_goes_first_and_who_waits_long_rises(monkeypatch):
    async def main():
        clock, engine = Clock(monkeypatch), make_engine(FakeModel())
        scheduler = Scheduler(Limits(1, 16, 4, 100))
        texts = ("late", "flex", "usual", "first")
        late, flex, usual, first = (sequence_of(engine, text, priority=p) for text, p in zip(texts, (-1, -1, 0, 1)))
        for sequence in (flex, usual, first):
            sequence.submitted_s = clock.now
        late.submitted_s = clock.now - 2 * scheduling.AGE_S - 1
        scheduler.waiting.extend((flex, usual, late, first))
        order = []
        while sequence := scheduler.admissible(lambda *_: False):
            order.append(sequence)
            scheduler.admit(sequence, 0, 0)
            scheduler.remove(sequence)
        assert order == [late, first, usual, flex]
        engine.close()

    run(main())


def test_a_client_without_the_right_is_served_like_the_others():
    asked = []

    class Noted(Says):
        def forward(self, step):
            asked.extend(s.job.priority for s in engine.running())
            return super().forward(step)

    settings = ServerSettings(api_keys=("usual", "first"), priority_keys=frozenset({"first"}))
    body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    for given, key, priority in (
        ("priority", "first", 1),
        ("priority", "usual", 0),
        ("flex", "usual", -1),
        ("auto", "first", 0),
    ):
        asked.clear()
        with app_of(Noted("Done."), settings) as (app, engine):
            answer = call(app, "POST", "/v1/chat/completions", json={**body, "service_tier": given}, headers={"Authorization": f"Bearer {key}"})  # fmt: skip
        assert answer.status_code == 200 and set(asked) == {priority}
    asked.clear()
    with app_of(Noted("Done.")) as (app, engine):
        call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": "x", "service_tier": "priority", "max_tokens": 2})  # fmt: skip
    assert set(asked) == {1}, "without keys whoever reaches the server may"


def test_who_waits_longer_than_allowed_is_told_so():
    async def main():
        gate = threading.Semaphore(0)
        engine = make_engine(FakeModel(slots=1, gate=gate), max_wait_s=0.1)
        running, waiting = sequence_of(engine, "running", 3), sequence_of(engine, "waiting", 3)
        engine.submit([running])
        engine.submit([waiting])
        gate.release(1)
        await asyncio.sleep(0.2)
        gate.release(100)
        assert (await read_all(waiting))[1].reason == "overloaded"
        assert (await read_all(running))[1].reason == "length" and running.phase is Phase.DONE
        engine.close()

    run(main())


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_a_client_alone_keeps_to_the_slots_that_were_used(cache_bytes):
    async def main():
        model = FakeModel(slots=32, context=256)
        engine = make_engine(model, cache_bytes)
        for i in range(40):
            await ask(engine, f"{chr(65 + i)}: a conversation that has nothing in common with others", 2)
        used = {slot for step in model.steps for slot, *_ in step}
        assert used == ({0} if cache_bytes else set(range(32))), (
            "without a cache a slot is all that keeps a conversation"
        )
        engine.close()

    run(main())

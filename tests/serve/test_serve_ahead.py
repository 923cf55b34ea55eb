"""Steps that a device begins before the host has seen what the one ahead of them chose change no answer, and no state that is gone on from."""

import asyncio
import threading

import pytest
from serve_fakes import Ahead, ask, expected, make_engine, read_all, sequence_of

RECURRENT = pytest.mark.parametrize("recurrent", [False, True])


class Plain(Ahead):
    runs_ahead = False


def answers(run, model, **options):
    """What `run` finds with an engine of the model."""
    engine = make_engine(model, **options)
    try:
        return asyncio.run(run(engine))
    finally:
        engine.close()


@RECURRENT
def test_answers_are_those_of_one_step_after_the_other(recurrent):
    async def several(engine):
        alone = await ask(engine, "alone", 40)
        others = await asyncio.gather(
            *(ask(engine, text, count) for text, count in (("one", 9), ("second", 33), ("3", 20), ("4", 1)))
        )
        return [text for text, _ in (alone, *others)]

    model = Ahead(recurrent=recurrent)
    found = answers(several, model, snapshot_every=16)
    asked = [("alone", 40), ("one", 9), ("second", 33), ("3", 20), ("4", 1)]
    assert found == [expected(text.encode(), count, recurrent) for text, count in asked]
    assert model.followed > 30


@RECURRENT
@pytest.mark.parametrize("reads_stop", [False, True])
def test_the_next_turn_after_a_stop_token_is_a_cold_one(recurrent, reads_stop):
    """The slot has read the stop token: a text that goes on with it finds it there, another one does not."""

    async def turns(engine):
        first, sequence = await ask(engine, "question", 30)
        assert sequence.position == len("question") + len(sequence.tokens), "with the stop token"
        text = tuple(b"question" + first.encode()) + ((256,) if reads_stop else ()) + tuple(b"and then?")
        second, after = await ask(engine, "", 12, prompt=text)
        return first, second, text, after.usage.cached

    model = Ahead(stops=(20,), recurrent=recurrent)
    first, second, text, cached = answers(turns, model, cache_bytes=0)
    assert len(first) == 13 and model.followed >= 12

    plain = Plain(stops=(20,), recurrent=recurrent)

    async def cold(engine):
        return (await ask(engine, "", 12, prompt=text))[0]

    assert second == answers(cold, plain)
    here = len("question") + 13
    assert cached == (here + 1 if reads_stop else 0 if recurrent else here)


@RECURRENT
def test_others_come_and_go_while_steps_follow(recurrent):
    async def crowd(engine):
        long = sequence_of(engine, "the long one", 100)
        gone = sequence_of(engine, "cancelled", 200)
        engine.submit([long, gone])
        while len(gone.tokens) < 20:
            await asyncio.sleep(0.001)
        engine.cancel([gone])
        engine.model.gate.release(2000)
        short = [await ask(engine, f"short {i}", 5 + i) for i in range(4)]
        text, finish = await read_all(long)
        _, end = await read_all(gone)
        return text, finish.reason, end.reason, [text for text, _ in short]

    model = Ahead(recurrent=recurrent, gate=threading.Semaphore(80))
    text, reason, end, short = answers(crowd, model, snapshot_every=16)
    assert (text, reason, end) == (expected(b"the long one", 100, recurrent), "length", "cancelled")
    assert short == [expected(f"short {i}".encode(), 5 + i, recurrent) for i in range(4)]
    assert model.followed > 20


def test_an_answer_ends_with_its_context_or_a_stop_text():
    async def ends(engine):
        full, _ = await ask(engine, "full", 1000)
        whole = expected(b"text", 20)
        cut, sequence = await ask(engine, "text", 1000, stop_texts=(whole[9:12],))
        return full, cut, sequence

    model = Ahead(context=64)
    full, cut, sequence = answers(ends, model)
    assert full == expected(b"full", 61) and cut == expected(b"text", 9)
    assert max(position for step in model.steps for _, _, position in step) < 64


def test_a_step_that_fails_behind_another_is_told():
    class Failing(Ahead):
        failed = False

        def queue(self, *arguments):
            if self.followed == 10 and not self.failed:
                self.failed = True
                raise RuntimeError("the device is gone")
            return super().queue(*arguments)

    async def lost(engine):
        sequence = sequence_of(engine, "lost", 100)
        engine.submit([sequence])
        text, finish = await read_all(sequence)
        again, _ = await ask(engine, "again", 9)
        return text, finish.reason, again

    text, reason, again = answers(lost, Failing())
    assert reason == "error" and 10 <= len(text) <= 12 and again == expected(b"again", 9)

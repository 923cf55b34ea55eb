"""Prompts in flight that begin alike are computed once, whatever happens to the one that computes them."""

import asyncio
import threading

import pytest
from serve_fakes import FakeModel, Says, make_engine, read_all, sequence_of
from test_serve_api import app_of, call

PROMPT = "one system prompt for all of them. " * 15  # 525 tokens


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60))


def computed(model):
    """Rows of prompts that ran, less those of answers."""
    return sum(rows for step in model.steps for _, rows, _ in step if rows > 1)


async def _together(texts, recurrent):
    """Engine, model, sequences and answers of texts that are all there before a step ends: of a recurrent state, what nobody waits for
    by then is not kept."""
    gate = threading.Semaphore(0)
    model = FakeModel(slots=8, context=1024, max_rows=64, max_outputs=16, recurrent=recurrent, gate=gate)
    engine = make_engine(model, snapshot_every=1024, prefill_rows=64)
    sequences = [sequence_of(engine, text, 3) for text in texts]
    for sequence in sequences:
        engine.submit([sequence])
    gate.release(10**6)
    return engine, model, sequences, [(await read_all(sequence))[0] for sequence in sequences]


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_prompt_that_comes_sixty_times_at_once_is_computed_once(recurrent):
    async def main():
        engine, model, sequences, answers = await _together([PROMPT] * 60, recurrent)
        assert set(answers) == {_alone(PROMPT, 3, recurrent)}
        assert computed(model) <= len(PROMPT), "each of the others computes its last row alone"
        assert sorted(s.usage.cached for s in sequences) == [0] + [len(PROMPT) - 1] * 59
        engine.close()

    run(main())


@pytest.mark.parametrize("recurrent", [False, True])
def test_only_the_shared_beginning_is_waited_for(recurrent):
    async def main():
        texts = [f"{PROMPT}{chr(65 + i)} asks something of its own, at length: {'why? ' * 20}" for i in range(16)]
        texts += [f"{i}: nothing in common with the others" for i in range(4)]
        engine, model, _, answers = await _together(texts, recurrent)
        assert answers == [_alone(text, 3, recurrent) for text in texts]
        own = sum(len(text) for text in texts) - 16 * len(PROMPT)
        assert computed(model) <= len(PROMPT) + own
        engine.close()

    run(main())


@pytest.mark.parametrize("how", ["cancelled", "late", "failed"])
def test_whoever_waits_goes_on_when_the_first_one_ends(how):
    async def main():
        gate = threading.Semaphore(0)
        model = FakeModel(slots=3, context=1024, max_rows=16, gate=gate)
        engine = make_engine(model)
        first, *others = [sequence_of(engine, PROMPT, 3) for _ in range(4)]
        for sequence in (first, *others):
            engine.submit([sequence])
        gate.release(2)
        while len(model.steps) < 2:
            await asyncio.sleep(0.01)
        assert [len(step) for step in model.steps] == [1, 1], "the others have no slot yet"
        if how == "cancelled":
            engine.cancel([first])
        elif how == "late":
            first.job.__dict__["deadline_s"] = 0.0
        else:
            first.marks = None  # its own work raises
        gate.release(500)
        for sequence in others:
            assert (await read_all(sequence))[0] == _alone(PROMPT, 3, False)
        assert first.phase.value == "done"
        engine.close()

    run(main())


def test_equal_texts_are_embedded_once_and_choices_share_their_prompt():
    model = Says("Done.", slots=4, context=1024, max_rows=64, max_outputs=16)
    with app_of(model) as (app, _):
        for pooling in ("last", "mean"):
            model.steps.clear()
            body = {"model": "fake", "input": [PROMPT, "other", PROMPT, PROMPT], "pooling": pooling}
            data = call(app, "POST", "/v1/embeddings", json=body).json()["data"]
            assert data[0]["embedding"] == data[2]["embedding"] == data[3]["embedding"] != data[1]["embedding"]
            assert computed(model) == len(PROMPT) + len("other")
        model.steps.clear()
        call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": PROMPT, "n": 4, "max_tokens": 2})
        assert computed(model) <= len(PROMPT)
        model.steps.clear()
        turns = [{"role": "user", "content": PROMPT[1:]}]
        call(app, "POST", "/v1/chat/completions", json={"model": "fake", "messages": turns, "n": 4, "max_tokens": 2})
        assert computed(model) <= len(PROMPT) + 40


def test_requests_for_one_vector_share_it():
    async def main():
        gate = threading.Semaphore(0)
        model = FakeModel(slots=4, context=1024, max_rows=64, gate=gate)
        engine = make_engine(model, snapshot_every=1024, prefill_rows=64)
        same = [sequence_of(engine, PROMPT, 0, pool="mean") for _ in range(5)]
        for sequence in same:
            engine.submit([sequence])
        gate.release(100)
        vectors = []
        for sequence in same:
            events = []
            while not events or not hasattr(events[-1], "reason"):
                events += await asyncio.wait_for(sequence.stream.read(), 10)
            vectors.append(events[0].values.tolist())
        assert vectors == vectors[:1] * 5 and computed(model) == len(PROMPT)
        engine.close()

    run(main())


def _alone(text, count, recurrent):
    model = FakeModel(1, 1024, recurrent=recurrent)
    for position, token in enumerate(text.encode()):
        logits = model._row(0, position, token)
    out = []
    for position in range(len(text), len(text) + count):
        out.append(int(logits.argmax()))
        logits = model._row(0, position, out[-1])
    return bytes(out).decode()

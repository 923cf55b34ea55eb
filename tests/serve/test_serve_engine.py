"""The engine with a model that checks its own state: batches, chunks, queue, cancellation, deadlines, slow readers, reused prefixes."""

import asyncio
import random
import threading
import time

import numpy as np
import pytest
from serve_fakes import FakeModel, ask, expected, make_engine, read_all, sequence_of

from hfc.base.diagnostics import DeviceLost
from hfc.serve.engine import Closed, QueueFull
from hfc.serve.job import Finish, Piece
from hfc.serve.scheduler import Limits, Scheduler
from hfc.serve.sequence import Phase
from hfc.serve.stream import FULL, Stream, wake


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


@pytest.mark.parametrize("recurrent", [False, True])
def test_many_clients_each_get_their_own_answer(recurrent):
    async def main():
        model = FakeModel(slots=3, recurrent=recurrent)
        engine = make_engine(model, snapshot_every=32)
        rng = random.Random(1)
        shared = "x" * 70
        prompts = [shared[: rng.choice([0, 40, 64, 70])] + f"prompt {i % 9} " * rng.randint(1, 6) for i in range(40)]
        answers = await asyncio.gather(*(ask(engine, p, 5 + i % 7) for i, p in enumerate(prompts)))
        for i, (prompt, (answer, sequence)) in enumerate(zip(prompts, answers)):
            assert answer == expected(prompt.encode(), 5 + i % 7, recurrent)
            assert sequence.usage.cached < len(prompt) and sequence.usage.completion == 5 + i % 7
        assert sum(s.usage.cached for _, s in answers) > 0
        assert max(len(step) for step in model.steps) == 3, "the slots ran together"
        engine.close()

    run(main())


def test_prompts_yield_to_decoding():
    async def main():
        gate = threading.Semaphore(0)
        model = FakeModel(slots=2, gate=gate, max_rows=16)
        engine = make_engine(model, prefill_rows=8)
        short = sequence_of(engine, "short", 15)  # the first steps show what decoding alone costs
        engine.submit([short])
        gate.release()
        await asyncio.wait_for(short.stream.read(), 10)
        engine.submit([sequence_of(engine, "long " * 30, 2)])
        gate.release(100)
        await read_all(short)
        mixed = [step for step in model.steps if len(step) == 2]
        assert len(mixed) >= 10
        for step in mixed:
            rows = {slot: n for slot, n, _ in step}
            assert rows[short.slot] == 1 and sum(rows.values()) <= 9
        engine.close()

    run(main())


def test_a_short_prompt_does_not_wait_for_a_long_one():
    async def main():
        gate = threading.Semaphore(0)
        model = FakeModel(slots=2, gate=gate, max_rows=16)
        engine = make_engine(model)
        long, short = sequence_of(engine, "long " * 40, 2), sequence_of(engine, "shorty", 2)
        engine.submit([long, short])
        gate.release()
        assert await asyncio.wait_for(short.stream.read(), 10) and long.phase is Phase.PREFILL
        gate.release(100)
        assert (await read_all(long))[0] == expected(b"long " * 40, 2)
        engine.close()

    run(main())


def test_the_queue_has_a_bound_and_says_when_to_come_back():
    async def main():
        gate = threading.Semaphore(0)
        engine = make_engine(FakeModel(slots=1, gate=gate), queue=2)
        kept = [sequence_of(engine, f"p{i}", 2) for i in range(3)]
        for sequence in kept:
            engine.submit([sequence])
        with pytest.raises(QueueFull) as refused:
            engine.submit([sequence_of(engine, "one more", 2)])
        assert 1 <= refused.value.retry_after_s <= 60
        gate.release(100)
        for i, sequence in enumerate(kept):
            assert (await read_all(sequence))[0] == expected(f"p{i}".encode(), 2)
        engine.close()
        with pytest.raises(Closed):
            engine.submit([sequence_of(engine, "late", 2)])

    run(main())


def test_a_cancelled_sequence_frees_its_slot_at_once():
    async def main():
        gate = threading.Semaphore(0)
        model = FakeModel(slots=1, gate=gate)
        engine = make_engine(model)
        endless, next_one = sequence_of(engine, "endless", 200), sequence_of(engine, "next", 2)
        engine.submit([endless])
        engine.submit([next_one])
        gate.release(3)
        await asyncio.wait_for(endless.stream.read(), 10)
        engine.cancel([endless])
        gate.release(100)
        assert (await read_all(next_one))[0] == expected(b"next", 2)
        assert (await read_all(endless))[1].reason == "cancelled"
        assert len(model.steps) < 12
        engine.close()

    run(main())


def test_deadlines_hold_while_waiting_and_while_running():
    async def main():
        gate = threading.Semaphore(0)
        engine = make_engine(FakeModel(slots=1, gate=gate))
        running = sequence_of(engine, "running", 200, deadline_s=time.monotonic() + 0.2)
        waiting = sequence_of(engine, "waiting", 2, deadline_s=time.monotonic() + 0.1)
        engine.submit([running])
        engine.submit([waiting])
        await asyncio.sleep(0.3)
        gate.release(5)
        assert (await read_all(running))[1].reason == "timeout" and (await read_all(waiting))[1].reason == "timeout"
        engine.close()

    run(main())


def test_a_slow_reader_pauses_its_own_sequence_only():
    async def main():
        engine = make_engine(FakeModel(slots=2, context=2000))
        slow = sequence_of(engine, "slow", 1500)
        engine.submit([slow])
        await ask(engine, "quick", 600)
        await asyncio.sleep(0.05)
        assert len(slow.tokens) <= FULL + 1, "nobody reads, so nothing more is made"
        assert (await read_all(slow))[0] == expected_long(b"slow", 1500)
        engine.close()

    run(main())


def expected_long(prompt, count):
    model = FakeModel(1, 2000)
    for position, token in enumerate(prompt):
        logits = model._row(0, position, token)
    out = []
    for position in range(len(prompt), len(prompt) + count):
        out.append(int(np.argmax(logits)))
        logits = model._row(0, position, out[-1])
    return bytes(out).decode()


def test_a_lost_device_ends_everything_with_its_message():
    async def main():
        model = FakeModel()
        model.fail = DeviceLost("device lost")
        engine = make_engine(model)
        sequence = sequence_of(engine, "hello", 3)
        engine.submit([sequence])
        finish = (await read_all(sequence))[1]
        assert finish.reason == "error" and "device lost" in finish.message and engine.failure == "device lost"
        with pytest.raises(Closed, match="device lost"):
            engine.submit([sequence_of(engine, "again", 3)])
        engine.close()

    run(main())


def test_context_full_ends_with_length():
    async def main():
        engine = make_engine(FakeModel(context=20))
        answer, sequence = await ask(engine, "0123456789", None)
        assert len(answer) == 11 and answer == expected(b"0123456789", 11) and sequence.usage.completion == 11
        engine.close()

    run(main())


def test_more_slots_than_logits_rows_take_turns():
    async def main():
        model = FakeModel(slots=6, max_outputs=2)
        engine = make_engine(model)
        answers = await asyncio.gather(*(ask(engine, f"client {i}", 20) for i in range(6)))
        assert [a for a, _ in answers] == [expected(f"client {i}".encode(), 20) for i in range(6)]
        engine.close()

    run(main())


def test_choices_of_one_prompt_share_its_state():
    async def main():
        model = FakeModel(slots=3, max_rows=64)
        engine = make_engine(model)
        prompt = "the same prompt for all " * 5
        first, *others = [sequence_of(engine, prompt, 6) for _ in range(3)]
        engine.submit([first, *others])
        assert {(await read_all(s))[0] for s in (first, *others)} == {expected(prompt.encode(), 6)}
        assert [s.usage.cached for s in others] == [len(prompt) - 1] * 2 and first.usage.cached == 0
        engine.close()

    run(main())


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_turns_of_a_conversation_compute_new_tokens_only(recurrent, cache_bytes):
    async def main():
        model = FakeModel(slots=2, context=2000, recurrent=recurrent)
        engine = make_engine(model, cache_bytes)
        text, before = "system: be brief. " * 5, 0
        for turn in range(10):
            text += f"user {turn}: go on. "
            answer, sequence = await ask(engine, text, 9)
            assert answer == expected_of(text, 9, recurrent)
            assert sequence.usage.cached == before, turn
            before = len(text) + 8  # the last token was never fed
            text += answer
            if cache_bytes:
                await asyncio.gather(*(ask(engine, f"someone else {turn} {i}", 3) for i in range(2)))  # take all slots
        engine.close()

    run(main())


def expected_of(text, count, recurrent):
    return expected_long(text.encode(), count) if not recurrent else _expected_recurrent(text.encode(), count)


def _expected_recurrent(prompt, count):
    model = FakeModel(1, 2000, recurrent=True)
    for position, token in enumerate(prompt):
        logits = model._row(0, position, token)
    out = []
    for position in range(len(prompt), len(prompt) + count):
        out.append(int(np.argmax(logits)))
        logits = model._row(0, position, out[-1])
    return bytes(out).decode()


def test_marks_let_recurrent_state_branch_off():
    async def main():
        model = FakeModel(slots=1, context=1000, recurrent=True)
        engine = make_engine(model)
        history = "history of the conversation, " * 6
        await ask(engine, history + "opening of an answer", 4, marks=(len(history),))
        await ask(engine, "another prompt", 2)
        answer, sequence = await ask(engine, history + "another question", 4)
        assert sequence.usage.cached == len(history) and answer == _expected_recurrent(
            (history + "another question").encode(), 4
        )
        engine.close()

    run(main())


def test_prompt_log_probabilities_need_every_row():
    async def main():
        engine = make_engine(FakeModel())
        prompt = "a prompt of some length"
        await ask(engine, prompt, 2)
        sequence = sequence_of(engine, prompt, 2, logprobs=1, prompt_logprobs=True)
        engine.submit([sequence])
        parts, answer = [], ""
        while sequence.phase is not Phase.DONE or not answer:
            for event in await asyncio.wait_for(sequence.stream.read(), 10):
                parts += getattr(event, "logprobs", ())
                answer += getattr(event, "text", "")
        assert [p.token for p in parts] == list(prompt.encode()[1:]) and all(p.logprob < 0 for p in parts)
        engine.close()

    run(main())


def test_the_scheduler_never_starves_a_prompt_of_its_logits_row():
    class Full:
        is_full = False

    scheduler = Scheduler(Limits(slots=8, max_rows=8, max_outputs=4, context=100))

    async def main():
        engine = make_engine(FakeModel())
        sequences = [sequence_of(engine, "ab", 5) for _ in range(8)]
        for slot, sequence in enumerate(sequences):
            scheduler.waiting.append(sequence)
            scheduler.admit(sequence, slot, 0)
            sequence.phase = Phase.DECODE if slot < 7 else Phase.PREFILL
        for _ in range(2):
            scheduler.pace.stepped(3, 0, 0.01)
        seen = set()
        for _ in range(4):
            work = scheduler.plan()
            assert sum(w.outputs for w in work) <= 4 and work[-1].sequence is sequences[7] and work[-1].rows == 2
            seen |= {w.sequence.number for w in work}
        assert len(seen) == 8, "all take turns"
        engine.close()

    run(main())


def test_a_late_wake_gives_no_empty_read():
    async def main():
        stream = Stream(asyncio.get_running_loop())
        stream.put(Piece("a", 1))
        assert await stream.read() == [Piece("a", 1)]
        later = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0.01)
        wake([stream])  # for the event that was read already
        await asyncio.sleep(0.02)
        assert not later.done()
        stream.put(Finish("stop"))
        wake([stream])
        assert await asyncio.wait_for(later, 5) == [Finish("stop")]
        assert await stream.read(0.01) == [], "the time is over"

    run(main())

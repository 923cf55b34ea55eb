"""An exception at every call of the step loop: of a sequence's own work it ends that sequence, of what sequences share the engine starts
again by itself. Every reader is told, and the next question is answered right."""

import asyncio
import logging
import threading
import time

import pytest
from serve_fakes import Bytes, FakeModel, FakeSlots, ask, expected, make_engine, read_all, sequence_of
from test_serve_drafts import Foresight, drafting

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.runtime.decoding import decoder as decoder_module
from hfc.runtime.decoding.decoder import Decoder, StepResult
from hfc.runtime.decoding.model import Begun, StepRunner
from hfc.runtime.generate import StopTexts
from hfc.runtime.sampler import Sampler
from hfc.runtime.speculate.governor import Governor
from hfc.runtime.speculate.speculator import Speculation, Speculator
from hfc.runtime.tokenizer import Detokenizer
from hfc.serve import engine as engine_module
from hfc.serve import prefix as prefix_module
from hfc.serve import prefix_tiers as tiers_module
from hfc.serve import prefix_tree as tree_module
from hfc.serve import scheduler as scheduler_module
from hfc.serve import sequence as sequence_module
from hfc.serve import slot_table as slot_table_module
from hfc.serve import stepper as stepper_module
from hfc.serve.engine import MOST_FRUITLESS, Engine
from hfc.serve.job import Finish
from hfc.serve.metrics import Metrics, Times
from hfc.serve.pace import Pace
from hfc.serve.parameters import AtLeast, Bias
from hfc.serve.prefix import PrefixCache
from hfc.serve.prefix_tiers import Tiers
from hfc.serve.prefix_tree import Siblings, Tree
from hfc.serve.scheduler import Scheduler
from hfc.serve.sequence import Sequence
from hfc.serve.sharing import Sharing
from hfc.serve.slot_table import SlotTable
from hfc.serve.stepper import Stepper
from hfc.serve.stream import Bell

# A sequence's own work: what it raises ends that sequence, and the engine goes on as if it had not been there.
OWN = [
    (Sequence, "choose take take_vector finish put_hidden put_prompt_logprobs put_progress"),
    (sequence_module, "logprob_of"),
    (Stepper, "_accept _accepted _choose _take"),
    (StepResult, "choose"),
    (Sampler, "choose accept"),
    (Detokenizer, "push close"),
    (StopTexts, "push close"),
    (Bytes, "bytes_of"),
    (Bias, "limit accept"),
    (AtLeast, "limit accept"),
    (Decoder, "begin read accept _propose _room _can_guess"),
    (Speculator, "propose note _offers"),
    (Speculation, "start"),
    (Foresight, "extend draft"),
    (Metrics, "first_token next_token"),
    (Times, "observe"),
]
# What sequences share: it may be damaged, so the engine starts again with an empty state.
SHARED = [
    (Engine, "_advance _loop"),
    (
        Stepper,
        "drop admit advance _busy _groups _begin _is_steady _is_page _land _end _limit _decoded _prefilled _keep_now_and_then _keep _commit _release _own _give_vector _is_kept_near",
    ),
    (Scheduler, "admissible admit remove plan _prompts _prompt"),
    (scheduler_module, "_remaining in_order"),
    (stepper_module, "flushed _counts"),
    (decoder_module, "make_step"),
    (SlotTable, "place leave _in_place _is_better"),
    (
        PrefixCache,
        "match restore store _add _evict",
    ),
    (
        Tiers,
        "take_kv take_recurrent touch place drop put_kv put_recurrent free load count_recurrent forget_recurrent _nearer _count _take",
    ),
    (tiers_module, "_data _is_in_host"),
    (Tree, "children add remove touch match count_recurrent"),
    (Siblings, "add begun extending get remove"),
    (tree_module, "text_of _bytes"),
    (prefix_module, "key_of"),
    (slot_table_module, "common_prefix"),
    (Pace, "rows stepped"),
    (Sharing, "_awaits _needed is_held"),
    (Decoder, "extend can_lead start finish settle"),
    (StepRunner, "start"),
    (Begun, "result"),
    (Governor, "settle"),
    (Metrics, "admitted prefilled stepped drafted finished"),
    (Sequence, "next_mark mark_at keep_marks"),
    (FakeModel, "forward tap"),
    (FakeSlots, "read_kv write_kv read_recurrent write_recurrent"),
    (Bell, "ring"),
    (engine_module, "use_from_this_thread"),
]
CALLS = [
    pytest.param(owner, name, is_own, id=f"{owner.__name__.rsplit('.')[-1]}.{name}")
    for table, is_own in ((OWN, True), (SHARED, False))
    for owner, names in table
    for name in names.split()
]
ERRORS = (ZeroDivisionError, HfcError, MemoryError)


class Panic(BaseException):
    """As native libraries raise it: no Exception."""


class Injected:
    """Makes the n-th call of a function on the engine's thread raise."""

    def __init__(self, monkeypatch, owner, name, at, error):
        self.calls, self.at, self.error = 0, at, error
        original = getattr(owner, name)

        def call(*arguments, **named):
            if threading.current_thread().name == "hfc-engine":
                self.calls += 1
                if self.calls == self.at:
                    raise self.error("injected")
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    @property
    def has_fired(self):
        return self.calls >= self.at


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


PROMPTS = ("the first of them is somewhat longer " * 2, "second", "third", "the first of them is somewhat longer " * 2)


def all_kinds(engine):
    """Sequences that between them use all of the step loop."""
    bias = lambda: (Bias({70: 1.5}), AtLeast(2, frozenset({256})))  # noqa: E731
    return [
        *(sequence_of(engine, prompt, 10, guides=bias() if i else ()) for i, prompt in enumerate(PROMPTS)),
        sequence_of(engine, "with log probabilities", 4, logprobs=2, prompt_logprobs=True, tells_progress=True),
        sequence_of(engine, "to embed", 1, pool="mean"),
        sequence_of(engine, "somebody who leaves at once", 200),
        sequence_of(engine, "too late", 200, deadline_s=time.monotonic() - 1),
    ]


async def through(engine):
    """Everybody's answer and end, in order."""
    sequences = all_kinds(engine)
    engine.submit(sequences)
    engine.cancel([sequences[6]])
    return await asyncio.gather(*map(read_all, sequences))


def engine_of():
    model = FakeModel(slots=3, recurrent=True, max_rows=32, max_outputs=8)
    return make_engine(model, snapshot_every=32, cache_bytes=600, speculation=drafting(recurrent=True), queue=32)


async def slots_are_free(engine):
    """The engine gives a slot back after the answer's end was read, in a thread of its own."""
    end = time.monotonic() + 10
    while engine.gauges()["slots_busy"] or engine.active:
        assert time.monotonic() < end, "a slot is never given back"
        await asyncio.sleep(0.01)


def injected(monkeypatch, owner, name, at, is_own, error):
    """One run with an exception; whether it came to that."""

    async def main():
        with monkeypatch.context() as patch:
            injection = Injected(patch, owner, name, at, error)
            engine = engine_of()
            ends = await through(engine)
            if engine.restarts == 0:
                again = await through(engine)  # prefixes come out of the cache now
                ends += again
        failed = [finish for _, finish in ends if finish.reason == "error"]
        assert engine.failure is None and engine.restarts <= 1, (engine.failure, engine.restarts)
        if is_own:
            assert engine.restarts == 0 and len(failed) <= 1, (engine.restarts, failed)
        for (text, finish), prompt in zip(ends[:4], PROMPTS):
            assert finish.reason == "error" or text == expected(prompt.encode(), 10, recurrent=True)
        for prompt in ("afterwards", PROMPTS[0]):
            answer, _ = await ask(engine, prompt, 10)
            assert answer == expected(prompt.encode(), 10, recurrent=True), "what comes later is right"
        await slots_are_free(engine)
        engine.close()
        return injection.has_fired

    return run(main())


@pytest.mark.parametrize(("owner", "name", "is_own"), CALLS)
def test_an_exception_at_a_call_of_the_step_loop(monkeypatch, caplog, owner, name, is_own):
    caplog.set_level(logging.CRITICAL)
    assert injected(monkeypatch, owner, name, 1, is_own, Panic), "the workload never comes here"
    injected(monkeypatch, owner, name, 4, is_own, ERRORS[len(name) % len(ERRORS)])


@pytest.mark.long
@pytest.mark.parametrize(("owner", "name", "is_own"), CALLS)
def test_an_exception_at_every_single_call(monkeypatch, caplog, owner, name, is_own):
    caplog.set_level(logging.CRITICAL)
    for at in range(1, 120):
        if not injected(monkeypatch, owner, name, at, is_own, ERRORS[at % len(ERRORS)]):
            break


def test_the_table_has_every_call_of_the_step_loop():
    """A tracer on the engine's thread sees no function of the server that the table above does not name."""
    known = {getattr(getattr(owner, name), "__code__", None) for owner, name, _ in (p.values for p in CALLS)}
    seen = {}

    def trace(frame, event, _):
        code = frame.f_code
        of_server = "/hfc/serve/" in code.co_filename or "/hfc/runtime/decoding/" in code.co_filename
        if event == "call" and of_server and threading.current_thread().name == "hfc-engine":
            seen[code] = (
                f"{code.co_filename.rsplit('/')[-1]}: {code.co_qualname if hasattr(code, 'co_qualname') else code.co_name}"
            )

    threading.setprofile(trace)
    try:

        async def main():
            engine = engine_of()
            await through(engine)
            await through(engine)
            engine.close()

        run(main())
    finally:
        threading.setprofile(None)
    harmless = (
        "<",  # comprehensions and lambdas belong to the function around them
        "_run", "_end", "_forget_ended", "abort",  # the supervisor itself and what it ends with
        "is_idle", "is_full", "is_on", "is_spare", "has_recurrent", "same_vector", "active", "is_recurrent", "history", "copies", "lacks_room", "__len__", "__init__", "__eq__",
        "needs_every_row", "close", "_new_stepper", "put", "suits_device",
    )  # fmt: skip
    missing = {text for code, text in seen.items() if code not in known and not code.co_name.startswith(harmless)}
    assert not missing and len(seen) > 50, " ".join(sorted(missing))


def test_waiting_requests_survive_a_failed_step(monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)

    async def main():
        gate = threading.Semaphore(0)
        model = FakeModel(slots=1, gate=gate)
        engine = make_engine(model)
        first, second = sequence_of(engine, "first", 5), sequence_of(engine, "second", 5)
        engine.submit([first])
        engine.submit([second])
        with monkeypatch.context() as patch:
            injection = Injected(patch, FakeModel, "_row", 3, RuntimeError)
            gate.release(100)
            text, finish = await read_all(first)
            assert injection.has_fired and finish.reason == "error" and "RuntimeError" in finish.message
            assert await read_all(second) == (expected(b"second", 5), Finish("length"))
        assert (
            engine.restarts == 1
            and engine.metrics.counts["engine_restarts"] == 1
            and "RuntimeError" in engine.last_error
        )
        engine.close()

    run(main())


@pytest.mark.parametrize(("error", "steps"), [(DeviceLost("card gone"), 1), (ZeroDivisionError(), MOST_FRUITLESS)])
def test_an_engine_that_cannot_go_on_says_so(caplog, error, steps):
    caplog.set_level(logging.CRITICAL)

    async def main():
        model = FakeModel()
        engine = make_engine(model)
        model.fail = error
        for _ in range(steps):
            assert engine.failure is None
            sequence = sequence_of(engine, "hello", 3)
            engine.submit([sequence])
            assert (await read_all(sequence))[1].reason == "error"
        end = time.monotonic() + 5
        while engine.failure is None and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert engine.failure and engine.restarts == steps - 1
        engine.close()

    run(main())

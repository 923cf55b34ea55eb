"""Large requests take turns, and nobody else waits for them."""

import asyncio
import gc
import threading
import time
import weakref

import httpx
import pytest
from serve_fakes import TEMPLATE, FakeModel
from test_serve_api import HELLO, app_of, call

from hfc.serve import memory
from hfc.serve.api.chat_completions import ChatRequest
from hfc.serve.limits import ServerLimits
from hfc.serve.served import ServerSettings
from hfc.serve.turns import Turns, leave
from hfc.serve.workers.ticket import Ended, Ticket

LARGE = {"user": "x" * 40_000}  # a body that is read by a thread
LOOPS = (
    "{% if messages[0].content == 'loop' %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    "{% endif %}" + TEMPLATE
)


def test_who_waits_for_another_leaves_the_turn_to_somebody_else():
    working, order, away = threading.Semaphore(1), [], threading.Event()

    def first():
        ticket = Ticket(working=working)
        with ticket.turn():
            order.append("first works")
            with ticket.away():
                away.set()
                second.join(10)
            order.append("first works again")

    def other():
        away.wait(10)
        with Ticket(working=working).turn():
            order.append("second works")

    second = threading.Thread(target=other)
    second.start()
    first()
    assert order == ["first works", "second works", "first works again"]
    assert working.acquire(blocking=False), "the turn was left"
    late = Ticket(time.monotonic() - 1, working=working)
    with pytest.raises(Ended), late.turn():
        raise AssertionError("nobody waits for this work")
    with pytest.raises(ZeroDivisionError), (mine := Ticket()).turn(), mine.away():
        raise ZeroDivisionError
    assert not working.acquire(blocking=False), "nothing was left that was not taken"


def test_a_large_request_that_waits_for_its_template_holds_no_other():
    limits = ServerLimits(template_s=2.0, template_workers=2)
    with app_of(settings=ServerSettings(limits=limits), template=LOOPS) as (app, _):
        call(app, "POST", "/v1/chat/completions", json={**HELLO, "max_tokens": 1})  # a worker is there

        async def main():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                send = lambda body: client.post("/v1/chat/completions", json={**body, **LARGE, "max_tokens": 2})  # noqa: E731
                loops = asyncio.ensure_future(
                    send({"model": "fake", "messages": [{"role": "user", "content": "loop"}]})
                )
                await asyncio.sleep(0.3)
                assert (await send(HELLO)).status_code == 200
                assert not loops.done()
                loops.cancel()

        asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**HELLO, "max_tokens": 2}, 200),
        ({**HELLO, "model": "nobody's"}, 404),
        ({**HELLO, "temperature": "hot"}, 400),
        ({"model": "fake", "messages": [{"role": "user", "content": "x" * 5000}]}, 400),
        (None, 400),
    ],
)
def test_a_place_is_left_however_a_request_ends(body, status):
    with app_of(FakeModel(context=512)) as (app, _):
        turns = app.state.turns
        if body is None:
            answer = call(
                app, "POST", "/v1/chat/completions", content=b"[" * 40_000, headers={"Content-Type": "application/json"}
            )
        else:
            answer = call(app, "POST", "/v1/chat/completions", json={**body, **LARGE})
        assert answer.status_code == status, answer.text
        assert turns.is_calm and turns.working.acquire(blocking=False)


def test_requests_of_many_objects_are_held_one_after_the_other():
    """So many as one alone may have; who comes first goes first, and who leaves while it waits holds nobody."""
    few, many = b"[" * 10, b"{" * 60

    async def main():
        turns, entered = Turns(held=3, most_objects=100), []

        async def enter(name, body):
            await turns.enter(scope := {}, body)
            entered.append(name)
            return scope

        async def waiting(name, body):
            task = asyncio.ensure_future(enter(name, body))
            await others()
            return task

        async def others():
            for _ in range(5):
                await asyncio.sleep(0)

        first, small = await enter("first", many), await enter("small", few)
        second, behind = await waiting("second", many), await waiting("behind", few)
        assert entered == ["first", "small"], "there is no room for the second, and nobody passes it"
        second.cancel()
        await others()
        assert entered[2:] == ["behind"]
        leave(await behind)
        third, fourth = await waiting("third", b"," * 8 * 1000), await waiting("fourth", few)
        leave(small)
        leave(first)
        third.cancel()  # it was called already
        await asyncio.gather(third, fourth, return_exceptions=True)
        assert entered[3:] == ["fourth"], "values count too, and none is more than all"
        leave(fourth.result())
        assert turns.is_calm

    asyncio.run(main())


def test_a_model_that_has_gone_is_collected_though_it_was_to_stay():
    class Engine:
        """A cycle, as an engine and its model are."""

        def __init__(self):
            self.model = self

    before = gc.get_threshold()
    try:
        memory.collect_old_when_calm()
        engine = Engine()
        gone = weakref.ref(engine)
        memory.keep()
        del engine
        gc.collect()
        assert gone() is not None, "what stays is not looked at"
        memory.let_go()
        assert gone() is None
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def test_a_collection_waits_until_no_large_request_is_held_and_others_wait_for_it(monkeypatch):
    async def main():
        turns, order = Turns(), []

        async def collect():
            async with turns.pause():
                order.append("collected")

        async def enter():
            await turns.enter(scope := {}, b"{}")
            order.append("entered")
            leave(scope)

        await turns.enter(scope := {}, b"{}")
        tasks = [asyncio.ensure_future(collect()), asyncio.ensure_future(collect())]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(enter()))
        await asyncio.sleep(0.01)
        assert not order
        leave(scope)
        await asyncio.gather(*tasks)
        assert order == ["collected", "collected", "entered"]
        monkeypatch.setattr("hfc.serve.turns.PAUSE_S", 0.01)
        await turns.enter(scope, b"{}")
        await collect()  # one takes long: it is not waited for without end
        leave(scope)
        await enter()

    asyncio.run(main())


def test_memory_is_given_back_for_many_bodies_that_are_large_together(monkeypatch):
    given = []
    monkeypatch.setattr("hfc.serve.security.GIVE_BACK_S", 0.01)
    monkeypatch.setattr("hfc.serve.security.give_memory_back", lambda: given.append(True))

    async def main(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

            async def ask(times, nbytes):
                for _ in range(times):
                    await client.post("/v1/completions", json={"model": "nobody's", "prompt": "x" * nbytes})
                await asyncio.sleep(0.05)
                return len(given)

            assert await ask(300, 4_000) == 0
            assert await ask(25, 40_000) == 0
            assert await ask(5, 40_000) == 1

    with app_of() as (app, _):
        asyncio.run(main(app))


def test_a_body_that_did_not_come_to_its_end_is_not_looked_at(monkeypatch):
    monkeypatch.setattr("hfc.serve.security.parsed", lambda *_: pytest.fail("it is"))
    messages = [{"type": "http.request", "body": b" " * 50_000, "more_body": True}, {"type": "http.disconnect"}]
    sent = []
    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"/v1/completions", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
    }  # fmt: skip

    async def receive():
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message):
        sent.append(message)

    with app_of() as (app, _):
        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] == 499 and app.state.turns.is_calm


def test_old_objects_are_collected_when_many_have_come(monkeypatch):
    before = gc.get_threshold()
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, memory.OLD))
    assert not memory.is_collection_due(), "a process that has Python's own thresholds is left alone"
    try:
        memory.collect_old_when_calm()
        assert memory.is_collection_due()
        monkeypatch.setattr(gc, "get_count", lambda: (0, 0, memory.OLD - 1))
        assert not memory.is_collection_due()
    finally:
        gc.set_threshold(*before)


def test_a_bias_of_a_whole_vocabulary_is_made_once_for_all_choices():
    with app_of() as (_, engine):
        served = type("Served", (), {"engine": engine})
        asked = ChatRequest.model_validate({**HELLO, "logit_bias": {str(i): 1 for i in range(100)}, "n": 16})
        first, second = asked.guides(served), asked.guides(served)
        assert first[0] is second[0] and asked.biases(served)[7] == 1.0

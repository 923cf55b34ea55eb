"""Large requests take turns, and nobody else waits for them."""

import asyncio
import gc
import threading
import time

import httpx
import pytest
from serve_fakes import TEMPLATE, FakeModel
from test_serve_api import HELLO, app_of, call

from hfc.serve import memory
from hfc.serve.api.chat_completions import ChatRequest
from hfc.serve.limits import ServerLimits
from hfc.serve.served import ServerSettings
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


def test_old_objects_are_collected_when_no_large_request_is_held(monkeypatch):
    collected = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(True))
    before = gc.get_threshold()
    try:
        memory.collect_old_when_calm()
        for count, is_calm, times in ((5, True, 0), (30, False, 0), (30, True, 1), (200, False, 2)):
            monkeypatch.setattr(gc, "get_count", lambda count=count: (0, 0, count))
            memory.collect_old(is_calm)
            assert len(collected) == times
    finally:
        gc.set_threshold(*before)
    memory.collect_old(True)
    assert len(collected) == 2, "a process that has Python's own thresholds is left alone"


def test_a_bias_of_a_whole_vocabulary_is_made_once_for_all_choices():
    with app_of() as (_, engine):
        served = type("Served", (), {"engine": engine})
        asked = ChatRequest.model_validate({**HELLO, "logit_bias": {str(i): 1 for i in range(100)}, "n": 16})
        first, second = asked.guides(served), asked.guides(served)
        assert first[0] is second[0] and asked.biases(served)[7] == 1.0

"""Templates and grammars are other people's programs: they run in workers that can be killed, and others do not wait for them."""

import asyncio
import os
import signal
import threading
import time

import httpx
import pytest
from serve_fakes import FakeModel, expected, make_engine, make_served
from test_serve_api import HELLO, PROMPT, app_of, call, rendered

from hfc.base.diagnostics import HfcError
from hfc.runtime.vocabulary import load_vocabulary
from hfc.serve.app import make_app
from hfc.serve.grammar import GrammarCompiler
from hfc.serve.limits import ServerLimits
from hfc.serve.models import Models
from hfc.serve.render import Renderer
from hfc.serve.served import Served, ServerSettings
from hfc.serve.workers.child import MOST_ITEMS
from hfc.serve.workers.pool import Failed, Killed, Nursery, TooMany, WorkerPool, workers_of
from hfc.serve.workers.ticket import Ended, Ticket

LOOPS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
SMALL = ServerLimits(template_s=0.5, template_bytes=96 << 20, grammar_s=0.6)
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def nursery():
    return Nursery()


def pool_of(nursery, size=1, queue=0, limit_s=0.5, memory=96 << 20):
    return WorkerPool(size, queue, limit_s, memory, False, nursery)


def render(pool, source, ticket=None, **variables):
    return Renderer(source, {"bos_token": "<s>"}, pool)(MESSAGES, None, variables, ticket or Ticket())


def test_a_template_is_rendered_as_before(nursery):
    pool = pool_of(nursery)
    source = "{{ bos_token }}{{ messages[0].content }}{{ more }}{% if add_generation_prompt %}go{% endif %}"
    for _ in range(3):
        assert render(pool, source, more="\ud800é") == ("<s>hi\ud800égo", "go")
    assert len(pool._idle) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (LOOPS, "longer than the 0.5 s"),
        ("{{ 'x' * 300000000 }}", "memory"),
        ("{% set ns = namespace(a=[]) %}{% for i in range(90000) %}{% set ns.a = ns.a + ['x' * 9000] %}{% endfor %}", "."),
        ("{{ 1 / (messages | length - 1) }}", "division by zero"),
        ("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", "recursion"),
        ("{% if %}", "not valid Jinja"),
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{{ messages.nothing.there }}", "nothing"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ],
)  # fmt: skip
def test_whatever_a_template_does_is_an_error_of_the_template(nursery, source, said):
    pool = pool_of(nursery)
    began = time.monotonic()
    with pytest.raises((HfcError, Failed)) as refused:
        render(pool, source)
    assert said in refused.value.message and time.monotonic() - began < 3
    assert render(pool, "fine")[0] == "fine", "the next one is served"


def test_workers_and_their_nursery_may_die(nursery):
    pool = pool_of(nursery, size=2, limit_s=2)
    assert render(pool, "one")[0] == "one"
    os.kill(pool._idle[0]._pid, signal.SIGKILL)
    time.sleep(0.05)
    assert render(pool, "two")[0] == "two"
    nursery._process.kill()
    nursery._process.wait()
    time.sleep(0.05)
    assert render(pool, "three")[0] == "three"
    for _ in range(2):
        pool._idle.clear()
        nursery._process.kill()  # it may not have ended when it is asked
        assert render(pool, "again")[0] == "again"
    in_work = threading.Timer(0.2, lambda: nursery.kill(busy[0]))
    busy = [pool._idle[0]._pid]
    in_work.start()
    with pytest.raises(Failed):  # tried again with a new one: it might have died of something else
        render(pool, LOOPS)
    assert render(pool, "four")[0] == "four"


def test_a_job_whose_workers_others_kill_is_not_the_client_s_fault(nursery, monkeypatch):
    """A 503 and not a 400: asked again, it may go well."""
    pool, fork = pool_of(nursery, limit_s=5), nursery.fork

    def doomed(limits):
        worker = fork(limits)
        threading.Timer(0.1, lambda: os.kill(worker._pid, signal.SIGKILL)).start()
        return worker

    monkeypatch.setattr(nursery, "fork", doomed)
    with pytest.raises(Killed):
        render(pool, LOOPS)
    monkeypatch.undo()
    assert render(pool, "as before")[0] == "as before"
    with app_of(template=LOOPS) as (app, _):
        monkeypatch.setattr(WorkerPool, "run", lambda *_: (_ for _ in ()).throw(Killed))
        for more in ({}, {"response_format": {"type": "regex", "pattern": "a|b"}}):
            answer = call(app, "POST", "/v1/chat/completions", json={**HELLO, **more})
            assert answer.status_code == 503 and answer.headers["retry-after"] == "1", answer.text
        answer = call(
            app, "POST", "/v1/completions", json={"model": "fake", "prompt": "a", "grammar": 'root ::= "kill"'}
        )
        assert answer.status_code == 503, answer.text


def test_a_client_that_goes_and_a_deadline_end_the_work(nursery):
    pool = pool_of(nursery, limit_s=20, queue=1)
    ticket = Ticket()
    threading.Timer(0.2, ticket.cancel).start()
    began = time.monotonic()
    with pytest.raises(Ended) as ended:
        render(pool, LOOPS, ticket)
    assert not ended.value.is_late and time.monotonic() - began < 2
    assert render(pool, "free again")[0] == "free again"
    with pytest.raises(Ended):
        render(pool, "too late", Ticket(time.monotonic() - 1))


def test_the_queue_for_workers_has_a_bound(nursery):
    pool, ticket = pool_of(nursery, limit_s=20), Ticket()
    thread = threading.Thread(target=lambda: pytest.raises(Ended, render, pool, LOOPS, ticket))
    thread.start()
    time.sleep(0.3)
    with pytest.raises(TooMany):
        render(pool, "no place")
    ticket.cancel()
    thread.join(5)
    assert render(pool, "again")[0] == "again"


# --- through the API ---


class app_with:
    """An app with these templates by name; the first is ordinary."""

    def __init__(self, limits=SMALL, **templates):
        self.engine = make_engine(FakeModel(slots=4, context=512))
        ordinary = make_served(self.engine)
        models = [
            Served(name, ordinary.vocabulary if t is None else make_served(self.engine, t).vocabulary, self.engine,
                   ordinary.default, limits=limits)
            for name, t in {"fake": None, **templates}.items()
        ]  # fmt: skip
        self.app = make_app(Models(models), ServerSettings(limits=limits))

    def __enter__(self):
        return self.app

    def __exit__(self, *_):
        self.engine.close()


def test_others_do_not_wait_for_a_template_that_runs_away():
    async def main(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            await client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 4})  # the nursery has started
            bad = [
                asyncio.ensure_future(client.post("/v1/chat/completions", json={**HELLO, "model": "bad"}))
                for _ in range(3)
            ]
            await asyncio.sleep(0.1)
            slowest = 0.0
            for _ in range(5):
                began = time.monotonic()
                answer = await client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 4})
                slowest = max(slowest, time.monotonic() - began)
                assert answer.json()["choices"][0]["message"]["content"] == expected(rendered(PROMPT), 4)
            return slowest, [await answer for answer in bad]

    with app_with(bad=LOOPS) as app:
        slowest, bad = asyncio.run(main(app))
        assert slowest < 0.4, slowest
        for answer in bad:
            error = answer.json()["error"]
            assert answer.status_code == 400 and error["code"] == "template_error" and "0.5 s" in error["message"]


def test_a_deadline_covers_the_planning():
    with app_with(ServerLimits(template_s=20.0), bad=LOOPS) as app:
        began = time.monotonic()
        answer = call(app, "POST", "/v1/chat/completions", json={**HELLO, "model": "bad", "timeout": 0.4})
        assert answer.status_code == 408 and time.monotonic() - began < 2


def test_more_requests_than_may_be_planned_are_told_to_come_back():
    async def main(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            asked = (client.post("/v1/chat/completions", json={**HELLO, "model": "bad"}) for _ in range(4))
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    with app_with(ServerLimits(template_s=0.4, planning=2), bad=LOOPS) as app:
        assert sorted(asyncio.run(main(app))) == [400, 400, 429, 429]
        assert call(app, "POST", "/v1/chat/completions", json={**HELLO, "max_tokens": 1}).status_code == 200


def large_schema(n):
    """Harmless, and takes a good part of a second to compile."""
    names = [f"p{i}" for i in range(n)]
    return {
        "type": "object",
        "properties": {p: {"type": "number", "minimum": 1.5, "maximum": 10**9} for p in names},
        "required": names,
    }


def structured(schema, **more):
    return {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, **more}


def test_a_grammar_has_its_time_and_is_refused_at_once_the_second_time():
    with app_with(ServerLimits(grammar_s=0.02)) as app:
        for _ in range(2):
            began = time.monotonic()
            answer = call(app, "POST", "/v1/chat/completions", json=structured(large_schema(700)))
            took = time.monotonic() - began
            assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_grammar", answer.text
            assert "0.02 s" in answer.json()["error"]["message"]
        assert took < 0.5


def test_a_grammar_is_compiled_once(monkeypatch):
    with app_with() as app:
        schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
        first = call(app, "POST", "/v1/chat/completions", json=structured(schema)).json()["choices"][0]["message"][
            "content"
        ]
        monkeypatch.setattr(WorkerPool, "run", _only_templates(WorkerPool.run))
        again = call(app, "POST", "/v1/chat/completions", json=structured(schema)).json()["choices"][0]["message"][
            "content"
        ]
        assert first == again and first.startswith("{")


def _only_templates(run):
    def wrapped(self, job, *arguments):
        assert job["do"] != "compile", "it is in the cache"
        return run(self, job, *arguments)

    return wrapped


REFUSED = [
    {"type": "object", "properties": {"a": {"$ref": "#/properties/b"}, "b": {"$ref": "#/properties/a"}}},
    {"$ref": "#"},
    {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
    {"type": "nonsense"},
    {"type": "integer", "minimum": 5, "maximum": 3},
]


@pytest.mark.parametrize("schema", REFUSED, ids=str)
def test_schemas_that_mean_nothing_are_the_client_s_fault(schema):
    with app_with() as app:
        for change in (
            structured(schema),
            {
                **HELLO,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                "tool_choice": "required",
            },
        ):
            answer = call(app, "POST", "/v1/chat/completions", json={**change, "max_tokens": 3})
            assert answer.status_code in (200, 400), answer.text
            if answer.status_code == 400:
                assert answer.json()["error"]["code"] == "invalid_grammar"


def test_what_ambiguous_rules_take_of_a_step_is_bounded(smollm2_gguf):
    """A choice of many tools stays far below the bound."""
    tokenizer = load_vocabulary(smollm2_gguf).tokenizer
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab)
    matcher = compiler.lark("start: e\ne: e e | /[a-z ]/", "grammar")
    for token in 20 * tokenizer.encode(" some words that are long enough", False):
        matcher.compute_bitmask()
        if matcher.is_error():
            break
        matcher.consume_token(token)
    assert f"limit {MOST_ITEMS}" in matcher.get_error()
    tools = [
        {"type": "object", "properties": {"name": {"const": f"t{i}"}, "a": {"type": "string"}}} for i in range(128)
    ]
    matcher = compiler.json_schema({"anyOf": tools}, "tools")
    for token in tokenizer.encode('{"name": "t77", "a": "some words', False):
        matcher.compute_bitmask()
        assert matcher.consume_token(token), matcher.get_error()


def test_one_set_of_workers_for_equal_limits():
    assert workers_of(ServerLimits()) is workers_of(ServerLimits())

"""The API around the fake model: refusals, keys, limits, disconnects, overload, keep-alive, readiness, metrics."""

import asyncio
import contextlib
import json
import threading
import time

import httpx
import pytest
from serve_fakes import FakeModel, expected, make_engine, make_served

from hfc.serve.app import make_app
from hfc.serve.limits import ServerLimits
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

DEFAULT = ServerSettings()


@contextlib.contextmanager
def app_of(model=None, settings=DEFAULT, template=None, **limits):
    engine = make_engine(model or FakeModel(context=512), **limits)
    served = make_served(engine, template) if template is not None else make_served(engine)
    try:
        yield make_app(Models([served]), settings), engine
    finally:
        if engine.model.gate is not None:
            engine.model.gate.release(10000)
        engine.close()


def call(app, method, path, **options):
    async def main():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.fixture(scope="module")
def app():
    with app_of() as (app, _):
        yield app


HELLO = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
PROMPT = b"user:hello<eos>assistant:"


def rendered(text):
    """Tokens of a rendered text: "<eos>" is one."""
    return [t for i, part in enumerate(text.split(b"<eos>")) for t in ([256] if i else []) + list(part)]


def test_an_answer_is_the_model_s(app):
    body = call(app, "POST", "/v1/chat/completions", json={**HELLO, "max_tokens": 7}).json()
    assert body["choices"][0]["message"]["content"] == expected(rendered(PROMPT), 7)
    assert body["object"] == "chat.completion" and body["choices"][0]["finish_reason"] == "length"


REFUSED = [
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": "hello"}, "messages", "invalid_value"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content.0",
        "unsupported_content",
    ),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "invalid_value"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0", "invalid_value"),
    ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
    ({"dry_multiplier": 0.8}, "dry_multiplier", "unsupported_parameter"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages.0.tool_call_id", None),
    ({"temperature": "hot"}, "temperature", "invalid_value"),
    ({"temperature": 101}, "temperature", "invalid_value"),
    ({"max_tokens": -2}, "max_tokens", "invalid_value"),
    ({"max_tokens": 1.5}, "max_tokens", "invalid_value"),
    ({"max_tokens": True}, "max_tokens", "invalid_value"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "invalid_value"),
    ({"n": 0}, "n", "invalid_value"),
    ({"stop": ["a"] * 17}, None, "invalid_value"),
    ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
    ({"logit_bias": {"banana": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {"99999": 1}}, "logit_bias", "invalid_value"),
    ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs", "invalid_value"),
    ({"messages": [{"role": "user", "content": "long " * 300}]}, "messages", "context_length_exceeded"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, None, "invalid_text"),
    ({"model": "gpt-\ud800"}, "model", "model_not_found"),
]


@pytest.mark.parametrize(("change", "param", "code"), REFUSED, ids=[json.dumps(c)[:60] for c, *_ in REFUSED])
def test_bad_requests_are_refused_with_the_field_s_name(app, change, param, code):
    response = call(
        app,
        "POST",
        "/v1/chat/completions",
        content=json.dumps({**HELLO, **change}),
        headers={"Content-Type": "application/json"},
    )
    error = response.json()["error"]
    assert response.status_code == (404 if code == "model_not_found" else 400) and error["message"]
    assert error["code"] == code and (param is None or error["param"] == param)
    assert error["type"] in ("invalid_request_error", "not_found_error")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": "fake", "messages": "\xff"}', b"[" * 100000]
)
def test_bodies_that_are_no_request(app, body):
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize"):
        response = call(app, "POST", path, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 400 and response.json()["error"]["message"]


def test_unknown_paths_and_methods_answer_in_kind(app):
    assert call(app, "GET", "/v1/nothing").json()["error"]["type"] == "not_found_error"
    response = call(app, "GET", "/v1/chat/completions")
    assert response.status_code == 405 and response.json()["error"]


def test_completions_refuse_what_contradicts_itself(app):
    for change in (
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [1, "a"]},
        {"prompt": [999]},
        {"suffix": "x"},
        {"best_of": 3},
        {"max_tokens": 0},
    ):
        body = {"model": "fake", "prompt": "x", **change}
        assert call(app, "POST", "/v1/completions", json=body).status_code == 400, change


def test_tokens_and_back(app):
    tokens = call(app, "POST", "/tokenize", json={"model": "fake", "prompt": "abc é"}).json()
    assert tokens == {"tokens": list("abc é".encode()), "count": 6, "max_model_len": 512}
    assert call(app, "POST", "/detokenize", json={"model": "fake", "tokens": tokens["tokens"]}).json() == {
        "prompt": "abc é",
        "content": "abc é",
    }
    chat = call(app, "POST", "/tokenize", json={"model": "fake", "messages": HELLO["messages"]}).json()
    assert chat["tokens"] == rendered(PROMPT)
    assert call(app, "POST", "/tokenize", json={"model": "fake"}).status_code == 400


def test_keys():
    with app_of(settings=ServerSettings(api_keys=("first", "zweiter"))) as (app, _):

        def status(**headers):
            return call(app, "GET", "/v1/models", headers=headers).status_code

        assert (
            status() == 401
            and status(Authorization="Bearer wrong") == 401
            and status(Authorization="Basic first") == 401
        )
        assert status(Authorization="Bearer first") == 200 and status(Authorization="bearer zweiter") == 200
        assert status(**{"x-api-key": "first"}) == 200 and status(Authorization="Bearer ") == 401
        refused = call(app, "POST", "/v1/chat/completions", json=HELLO)
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert call(app, "GET", "/health").status_code == 200 and call(app, "GET", "/metrics").status_code == 401


def test_large_bodies_are_refused_before_they_are_read():
    with app_of(settings=ServerSettings(limits=ServerLimits(body_bytes=1000))) as (app, _):
        assert call(app, "POST", "/v1/completions", content=b"x" * 1001).status_code == 413

        async def parts():
            for _ in range(20):
                yield b" " * 100

        refused = call(app, "POST", "/v1/completions", content=parts())
        assert refused.status_code == 413 and refused.json()["error"]["code"] == "request_too_large"


def test_cors_only_for_origins_that_were_named():
    with app_of(settings=ServerSettings(cors_origins=("https://app.example",), api_keys=("k",))) as (app, _):
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = call(app, "OPTIONS", "/v1/completions", headers={"Origin": "https://app.example", **asked})
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert (
            "access-control-allow-origin"
            not in call(app, "OPTIONS", "/v1/completions", headers={"Origin": "https://evil.example", **asked}).headers
        )


def test_the_queue_s_bound_is_a_429_with_retry_after():
    gate = threading.Semaphore(0)
    with app_of(FakeModel(slots=1, gate=gate), queue=1) as (app, engine):

        async def main():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
                body = {"model": "fake", "prompt": "x", "max_tokens": 2}
                first = [asyncio.ensure_future(client.post("/v1/completions", json=body)) for _ in range(2)]
                while engine.active < 2:
                    await asyncio.sleep(0.005)
                refused = await client.post("/v1/completions", json=body)
                assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
                assert refused.json()["error"]["code"] == "queue_full"
                gate.release(100)
                assert [r.status_code for r in await asyncio.gather(*first)] == [200, 200]

        asyncio.run(main())


def test_timeouts_are_a_408():
    gate = threading.Semaphore(0)
    with app_of(FakeModel(gate=gate), settings=ServerSettings(timeout_s=0.1)) as (app, _):
        threading.Timer(0.3, gate.release, [100]).start()
        response = call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": "x", "max_tokens": 200})
        assert response.status_code == 408 and response.json()["error"]["type"] == "timeout_error"


def test_ready_tells_of_stalls_and_lost_devices():
    gate = threading.Semaphore(0)
    with app_of(FakeModel(gate=gate), settings=ServerSettings(stall_s=0.05)) as (app, engine):
        assert call(app, "GET", "/ready").status_code == 200

        async def main():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                task = asyncio.ensure_future(
                    client.post("/v1/completions", json={"model": "fake", "prompt": "x", "max_tokens": 1})
                )
                end = time.monotonic() + 10
                while (await client.get("/ready")).status_code == 200:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.01)
                gate.release(100)
                await task
                assert (await client.get("/ready")).status_code == 200

        asyncio.run(main())
        engine.failure = "device lost"
        response = call(app, "GET", "/ready")
        assert response.status_code == 503 and "device lost" in response.json()["reasons"][0]
        refused = call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": "x"})
        assert refused.status_code == 503 and refused.json()["error"]["type"] == "overloaded_error"


OF = '{model="fake"}'


def test_metrics_count_requests_and_tokens(app):
    before = metrics_of(app)
    call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": "count me", "max_tokens": 3})
    call(app, "GET", "/v1/whatever/else")
    after = metrics_of(app)
    assert after[f"hfc_generated_tokens_total{OF}"] - before[f"hfc_generated_tokens_total{OF}"] == 3
    assert after[f"hfc_prompt_tokens_total{OF}"] - before[f"hfc_prompt_tokens_total{OF}"] == 8
    assert after['hfc_requests_total{path="/v1/completions",status="200"}'] >= 1
    assert after['hfc_requests_total{path="other",status="404"}'] >= 1
    assert after[f"hfc_slots{OF}"] == 3 and after[f"hfc_time_to_first_token_seconds_count{OF}"] >= 1


def metrics_of(app):
    lines = call(app, "GET", "/metrics").text.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def test_without_a_template_there_is_no_chat():
    with app_of(template="") as (app, _):
        response = call(app, "POST", "/v1/chat/completions", json=HELLO)
        assert response.status_code == 400 and response.json()["error"]["code"] == "no_chat_template"


def test_templates_that_refuse_are_a_400():
    with app_of(template="{{ raise_exception('no system messages') }}") as (app, _):
        response = call(app, "POST", "/v1/chat/completions", json=HELLO)
        assert response.status_code == 400 and "no system messages" in response.json()["error"]["message"]

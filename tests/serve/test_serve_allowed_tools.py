"""OpenAI's tool_choice "allowed_tools": which tools of a request the model may call, in chats and responses."""

import pytest
from serve_fakes import FakeModel
from test_serve_api import app_of, call

MESSAGES = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=4096, max_rows=256)) as (app, _):
        yield app


def chat(app, mode, *names):
    tools = [{"type": "function", "function": {"name": name}} for name in ("first", "second", "third")]
    allowed = [{"type": "function", "function": {"name": name}} for name in names]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    body = {"messages": MESSAGES, "tools": tools, "tool_choice": choice, "verbose": True, "max_tokens": 64}
    return call(app, "POST", "/v1/chat/completions", json=body)


def response(app, mode, *names):
    tools = [{"type": "function", "name": name, "parameters": None} for name in ("first", "second", "third")]
    choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": name} for name in names]}
    body = {"input": "x", "tools": tools, "tool_choice": choice, "max_output_tokens": 64}
    return call(app, "POST", "/v1/responses", json=body)


def test_a_call_that_must_be_is_one_of_those(app):
    (made,) = chat(app, "required", "second").json()["choices"][0]["message"]["tool_calls"]
    assert made["function"] == {"name": "second", "arguments": "{}"}
    told = response(app, "required", "third").json()
    assert [item["name"] for item in told["output"] if item["type"] == "function_call"] == ["third"]
    assert told["tool_choice"]["type"] == "allowed_tools" and len(told["tools"]) == 3


def test_the_model_sees_no_others(app):
    prompt = chat(app, "auto", "first", "third").json()["__verbose"]["prompt"]
    assert "first" in prompt and "third" in prompt and "second" not in prompt


def test_names_that_no_tool_has_are_refused(app):
    for ask in (chat, response):
        wrong = ask(app, "auto", "first", "fourth")
        assert wrong.status_code == 400 and "'fourth'" in wrong.json()["error"]["message"]
        assert wrong.json()["error"]["param"] == "tool_choice"
        assert ask(app, "sometimes", "first").status_code == 400 and ask(app, "auto").status_code == 400

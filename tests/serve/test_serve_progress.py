"""What llama-server's clients show while they wait: how far a prompt is, and how fast the answer is written."""

import json

import pytest
from serve_fakes import FakeModel
from test_serve_api import app_of
from test_serve_llama import MESSAGES, post


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=1024)) as (app, _):
        yield app


def events_of(response):
    lines = (line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {"))
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/completion"])
def test_how_far_a_prompt_is(path):
    """A chat's page or an editor shows it while a long prompt is computed."""
    text = "word " * 40
    ask = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": text}], "max_tokens": 3},
        "/v1/responses": {"input": text, "max_output_tokens": 3},
        "/completion": {"prompt": text, "n_predict": 3},
    }[path]
    with app_of(FakeModel(context=512)) as (app, _):
        assert not [e for e in events_of(post(app, path, **ask, stream=True)) if "prompt_progress" in e]
    with app_of(FakeModel(context=512)) as (app, _):
        for is_cached in (False, True):
            events = events_of(post(app, path, **ask, stream=True, return_progress=True))
            told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
            done = [one["processed"] for one in told]
            assert (told[0]["cache"] > 64) is is_cached and len({(one["total"], one["cache"]) for one in told}) == 1
            assert done[-1] == told[0]["total"] >= 200 and done == sorted(done)
            assert is_cached or path == "/v1/responses" or (done[0] == 0 and len(told) > 10)
            assert all(one["time_ms"] >= 0 for one in told)


def test_timings_where_asked(app):
    body = {"messages": MESSAGES, "max_tokens": 4}
    assert "timings" not in post(app, "/v1/chat/completions", **body).json()
    assert post(app, "/v1/chat/completions", **body, timings_per_token=True).json()["timings"]["predicted_n"] == 4
    assert (
        post(app, "/v1/responses", input="hello", max_output_tokens=4, timings_per_token=True).json()["timings"][
            "predicted_n"
        ]
        == 4
    )
    asks = {
        "/v1/chat/completions": body,
        "/v1/responses": {"input": "hello", "max_output_tokens": 4},
        "/completion": {"prompt": "hello", "n_predict": 4},
    }
    for path, ask in asks.items():
        events = events_of(post(app, path, **ask, timings_per_token=True, stream=True))
        told = [event["timings"]["predicted_n"] for event in events if "timings" in event]
        assert "timings" not in events[0] or path == "/completion"
        assert told[-1] == 4 and told == sorted(told) and len(told) > 1, path

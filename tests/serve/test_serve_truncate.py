"""A prompt that is too long: refused, or without its oldest part where the client asked for that."""

import pytest
from serve_fakes import EOS, FakeModel, expected
from test_serve_api import app_of, call, rendered

from hfc.serve.prompt import Prompt
from hfc.serve.truncate import budget, fit_messages, fit_tokens

CONTEXT = 200


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=CONTEXT)) as (app, _):
        yield app


def history(turns):
    out = [{"role": "system", "content": "S"}]
    for i in range(turns):
        out += [{"role": "user", "content": f"question {i:02}"}, {"role": "assistant", "content": f"answer {i:02}"}]
    return out


def text_of(messages):
    return "".join(f"{m['role']}:{m['content']}<eos>" for m in messages) + "assistant:"


def prompt_of(messages):
    return Prompt(tuple(rendered(text_of(messages).encode())), ())


def check(messages):
    """That they may fit."""


LAST = {"role": "user", "content": "the last one"}
PATHS = {
    "/v1/chat/completions": lambda m: {"messages": m, "max_completion_tokens": 5},
    "/v1/responses": lambda m: {"input": m, "max_output_tokens": 5},
    "/v1/messages": lambda m: {"system": m[0]["content"], "messages": m[1:], "max_tokens": 5},
}


@pytest.mark.parametrize("path", PATHS)
def test_the_oldest_turns_go_where_the_client_says_so(app, path):
    messages = [*history(12), LAST]
    body = {"model": "fake", **PATHS[path](messages)}
    refused = call(app, "POST", path, json=body)
    assert refused.status_code == 400 and str(CONTEXT) in refused.text
    assert call(app, "POST", path, json={**body, "truncation": "disabled"}).status_code == 400
    answer = call(app, "POST", path, json={**body, "truncation": "auto"})
    assert answer.status_code == 200, answer.text
    kept = fit_messages(messages, prompt_of, CONTEXT, 5, check).tokens
    assert expected(kept, 5) in answer.text and 0 < len(kept) <= CONTEXT - 5
    text = bytes(t for t in kept if t != EOS).decode()
    assert (
        text.startswith("system:Suser:question")
        and text.endswith("user:the last oneassistant:")
        and "question 00" not in text
    )


def test_what_fits_stays_whole(app):
    messages = [*history(2), LAST]
    body = {"model": "fake", "messages": messages, "truncation": "auto", "max_tokens": 4}
    answer = call(app, "POST", "/v1/chat/completions", json=body).json()
    assert answer["usage"]["prompt_tokens"] == len(prompt_of(messages).tokens)


def test_a_last_turn_that_is_too_long_alone_is_refused(app):
    messages = [*history(3), {"role": "user", "content": "x" * 300}]
    body = {"model": "fake", "messages": messages, "truncation": "auto"}
    assert call(app, "POST", "/v1/chat/completions", json=body).json()["error"]["code"] == "context_length_exceeded"


def test_turns_that_follow_cut_at_the_same_place():
    """Else every turn would compute its whole prompt again."""
    firsts = []
    for turns in range(40, 100):
        kept = fit_messages([*history(turns), LAST], prompt_of, 5 * CONTEXT, 20, check).tokens
        assert len(kept) <= 5 * CONTEXT - 20
        firsts.append(bytes(t for t in kept if t != EOS)[8:32])
    assert len(set(firsts)) < len(firsts) / 4


def test_of_a_history_of_many_contexts_the_latest_are_looked_at():
    """Ten megabytes were rendered and tokenized as a whole, and then half as often as they could be halved. The cut is still one place."""
    seen, firsts = [], []

    def counted(messages):
        text = text_of(messages)
        seen.append(len(text))
        return Prompt(tuple(text.encode()), ())

    for turns in range(2000, 2060):
        kept = fit_messages([*history(turns), LAST], counted, 5 * CONTEXT, 20, check).tokens
        assert len(kept) <= 5 * CONTEXT - 20 and bytes(kept).endswith(b"user:the last one<eos>assistant:")
        firsts.append(kept[:60])
    assert max(seen) < 40 * 5 * CONTEXT and len(set(firsts)) < len(firsts) / 2


def test_what_must_stay_is_refused_before_it_is_rendered(monkeypatch):
    with app_of(FakeModel(context=CONTEXT)) as (app, _):
        monkeypatch.setattr("serve_fakes.Bytes.is_local", True, raising=False)
        monkeypatch.setattr("hfc.serve.render.Renderer.__call__", None)
        messages = [*history(3), {"role": "user", "content": "x" * 300_000}]
        body = {"model": "fake", "messages": messages, "truncation": "auto"}
        assert call(app, "POST", "/v1/chat/completions", json=body).json()["error"]["code"] == "context_length_exceeded"


def test_calls_and_their_results_go_together():
    messages = [
        {"role": "user", "content": "a" * 80}, {"role": "assistant", "content": "c"}, {"role": "tool", "content": "r" * 80},
        {"role": "assistant", "content": "d"}, {"role": "user", "content": "b" * 60},
    ]  # fmt: skip
    assert fit_messages(messages, prompt_of, CONTEXT, 10, check).tokens == prompt_of(messages[-1:]).tokens


def test_texts_lose_their_oldest_tokens(app):
    prompt = [97 + i % 26 for i in range(300)]
    body = {"model": "fake", "prompt": prompt, "max_tokens": 8}
    assert call(app, "POST", "/v1/completions", json=body).status_code == 400
    answer = call(app, "POST", "/v1/completions", json={**body, "truncation": "auto"}).json()
    assert (
        answer["choices"][0]["text"] == expected(prompt[-(300 - 150) :], 8) and answer["usage"]["prompt_tokens"] == 150
    )
    assert fit_tokens([1, *prompt], CONTEXT, 8, begin=1)[:2] == [1, prompt[-150:][0]]
    refused = call(app, "POST", "/v1/completions", json={**body, "prompt": "x", "suffix": "y", "truncation": "auto"})
    assert refused.json()["error"]["param"] == "truncation"


def test_embedded_texts_lose_their_end(app):
    body = {"model": "fake", "input": list(range(250)), "normalize": False}
    assert call(app, "POST", "/v1/embeddings", json=body).status_code == 400
    answer = call(app, "POST", "/v1/embeddings", json={**body, "truncation": "auto"}).json()
    assert (
        answer["data"][0]["embedding"][:2] == [CONTEXT - 1, CONTEXT - 1] and answer["usage"]["prompt_tokens"] == CONTEXT
    )


@pytest.mark.parametrize("length", [1, 100, 150, 151, 199, 200, 201, 1000, 100000])
def test_room_is_left_for_the_answer(length):
    for most in (1, 50, 10**6, None):
        kept = budget(length, CONTEXT, most)
        assert 0 < kept <= length and (kept == length or length - kept >= 50)
        assert kept <= CONTEXT - min(most or 50, 50)

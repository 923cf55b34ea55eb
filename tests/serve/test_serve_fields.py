"""Fields of a request and what the model sees of them: samplers, ends of an answer, echo, suffixes, several choices."""

import dataclasses
import json

import numpy as np
import pytest
from serve_fakes import EOS, TEMPLATE, TOKENIZER, FakeModel, Says, expected, make_engine
from test_serve_api import app_of, call

from hfc.runtime.sampler import Sampling
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import Served, ServerSettings

TEXT = "fourteen bytes"


@pytest.fixture(scope="module")
def says():
    """A model that says TEXT and then wants to end, again and again."""
    with app_of(Says(TEXT, context=512)) as (app, _):
        yield app


@pytest.fixture(scope="module")
def app():
    with app_of() as (app, _):
        yield app


def complete(app, **body):
    response = call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": "assistant:", **body})
    assert response.status_code == 200, response.text
    return response.json()


def chat(app, **body):
    response = call(
        app,
        "POST",
        "/v1/chat/completions",
        json={"model": "fake", "messages": [{"role": "user", "content": "x"}], **body},
    )
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("ask", [complete, chat])
def test_ends_of_an_answer(says, ask):
    text = lambda answer: answer["choices"][0].get("text") or answer["choices"][0]["message"]["content"]  # noqa: E731
    whole = ask(says, max_tokens=40)
    assert (
        text(whole) == TEXT
        and whole["choices"][0]["finish_reason"] == "stop"
        and whole["usage"]["completion_tokens"] == len(TEXT) + 1
    )
    cut = ask(says, max_tokens=40, stop_token_ids=[ord("b")])
    assert text(cut) == TEXT[: TEXT.index("b")] and cut["choices"][0]["finish_reason"] == "stop"
    on = ask(says, max_tokens=40, ignore_eos=True)
    assert on["choices"][0]["finish_reason"] == "length" and on["usage"]["completion_tokens"] == 40
    later = ask(says, max_tokens=40, min_tokens=20)
    assert later["usage"]["completion_tokens"] == 21 and later["choices"][0]["finish_reason"] == "stop"
    forbidden = ask(says, max_tokens=20, logit_bias={str(EOS): -100})
    assert forbidden["choices"][0]["finish_reason"] == "length"
    both = ask(says, max_tokens=40, stop=["zebra", "een"])
    assert text(both) == "fourt" and both["choices"][0]["finish_reason"] == "stop"


FIELDS = {
    "temperature": 1.5, "top_p": 0.5, "top_k": 7, "min_p": 0.25, "frequency_penalty": 0.5, "presence_penalty": -0.5, "repeat_penalty": 1.25, "seed": 9,
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_every_sampler_reaches_the_engine(path):
    with app_of() as (app, engine):
        jobs, submit = [], engine.submit
        engine.submit = lambda sequences: (jobs.extend(s.job for s in sequences), submit(sequences))
        body = (
            {"model": "fake", "prompt": "x"}
            if path == "/v1/completions"
            else {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
        )
        for name, value in FIELDS.items():
            assert call(app, "POST", path, json={**body, "max_tokens": 1, name: value}).status_code == 200
            got, usual = jobs[-1].sampling, Sampling(temperature=0)  # of the served model
            assert getattr(got, name) == value != getattr(usual, name)
            others = {f.name for f in dataclasses.fields(Sampling)} - {name, "repeat_window"}
            assert all(getattr(got, f) == getattr(usual, f) for f in others)
        assert call(app, "POST", path, json={**body, "max_tokens": 1, **FIELDS, "n": 3}).status_code == 200
        assert [job.sampling.seed for job in jobs[-3:]] == [9, 10, 11]


@pytest.mark.parametrize("samplers", [["top_k", "temperature"], "kt"])
def test_samplers_that_are_not_named_are_off(samplers):
    with app_of() as (app, engine):
        jobs, submit = [], engine.submit
        engine.submit = lambda sequences: (jobs.extend(s.job for s in sequences), submit(sequences))
        body = {"model": "fake", "prompt": "x", "max_tokens": 1, **FIELDS, "samplers": samplers}
        assert call(app, "POST", "/v1/completions", json=body).status_code == 200
        got = jobs[-1].sampling
        assert (got.temperature, got.top_k, got.top_p, got.min_p, got.seed) == (1.5, 7, 1, 0, 9)
        assert (got.repeat_penalty, got.frequency_penalty, got.presence_penalty) == (1, 0, 0)
        moved = call(app, "POST", "/v1/completions", json={**body, "samplers": ["temperature", "top_k"]})
        assert moved.status_code == 400 and "leave some out" in moved.json()["error"]["message"]
        odd = call(app, "POST", "/v1/completions", json={**body, "samplers": ["top_k", "entropy"]})
        assert odd.status_code == 400 and "no sampler 'entropy'" in odd.json()["error"]["message"]


def test_repetition_penalty_is_repeat_penalty():
    """vLLM's name for it."""
    with app_of() as (app, engine):
        jobs, submit = [], engine.submit
        engine.submit = lambda sequences: (jobs.extend(s.job for s in sequences), submit(sequences))
        body = {"model": "fake", "prompt": "x", "max_tokens": 1}
        assert call(app, "POST", "/v1/completions", json={**body, "repetition_penalty": 1.25}).status_code == 200
        assert jobs[-1].sampling.repeat_penalty == 1.25 and jobs[-1].penalize_prompt


def test_choices_stream_side_by_side(app):
    body = {"model": "fake", "prompt": ["one", "two"], "n": 2, "max_tokens": 6, "stream": True}
    response = call(app, "POST", "/v1/completions", json=body)
    texts, ends = dict.fromkeys(range(4), ""), {}
    for line in response.text.split("\n"):
        if line.startswith("data: {"):
            (choice,) = json.loads(line[6:])["choices"]
            texts[choice["index"]] += choice["text"]
            ends[choice["index"]] = choice["finish_reason"]
    one, two = expected(b"one", 6), expected(b"two", 6)
    assert texts == {0: one, 1: one, 2: two, 3: two} and set(ends.values()) == {"length"}


def test_echo_with_and_without_scores(app):
    plain = complete(app, prompt="before ", echo=True, max_tokens=3)["choices"][0]
    assert plain["text"] == "before " + expected(b"before ", 3) and plain["logprobs"] is None
    scored = complete(app, prompt="before ", echo=True, max_tokens=3, logprobs=2)["choices"][0]
    logprobs = scored["logprobs"]
    assert scored["text"] == plain["text"] == "".join(logprobs["tokens"])
    assert logprobs["text_offset"] == list(range(10)) and logprobs["token_logprobs"][0] is None
    assert all(value <= 0 for value in logprobs["token_logprobs"][1:]) and all(
        len(top) >= 2 for top in logprobs["top_logprobs"][1:]
    )
    nothing = complete(app, prompt="before ", echo=True, max_tokens=0)
    assert nothing["choices"][0]["text"] == "before " and nothing["usage"]["completion_tokens"] == 0


class Tagged:
    """The byte vocabulary, with tags of three more tokens."""

    def __init__(self, tags):
        self.tags = dict(zip(tags, (257, 258, 259)))

    def encode(self, text, parse_special):
        return [self.tags[text]] if parse_special and text in self.tags else TOKENIZER.core.encode(text, parse_special)

    def bytes_of(self, token):
        return TOKENIZER.core.bytes_of(token)


@pytest.mark.parametrize(
    "tags", [("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"), ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")]
)
def test_a_suffix_where_the_vocabulary_has_tokens_for_it(tags):
    engine = make_engine(FakeModel(context=512))
    tokenizer = dataclasses.replace(TOKENIZER, core=Tagged(tags))  # tags that are not "special", as in Qwen's own file
    app = make_app(
        Models([Served("fake", Vocabulary(tokenizer, TEMPLATE), engine, Sampling(temperature=0))]), ServerSettings()
    )
    prompt = [257, *b"def f(", 258, *b")\n", 259]
    answer = complete(app, prompt="def f(", suffix=")\n", max_tokens=8)
    assert answer["choices"][0]["text"] == expected(prompt, 8) and answer["usage"]["prompt_tokens"] == len(prompt)
    engine.close()


def test_a_suffix_without_such_tokens_is_refused(app):
    response = call(app, "POST", "/v1/completions", json={"model": "fake", "prompt": "x", "suffix": "y"})
    assert response.status_code == 400 and response.json()["error"]["param"] == "suffix"


def test_logit_bias_moves_the_choice(app):
    want = ord("Q")
    assert complete(app, max_tokens=4, logit_bias={str(want): 100})["choices"][0]["text"] == "QQQQ"
    first = complete(app, max_tokens=1)["choices"][0]["text"]
    assert complete(app, max_tokens=1, logit_bias={str(ord(first)): -100})["choices"][0]["text"] != first


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_samplers_outside_their_range_are_refused(app, name):
    for value in (-3, 1e9, "1", None):
        response = call(
            app, "POST", "/v1/completions", json={"model": "fake", "prompt": "x", "max_tokens": 1, name: value}
        )
        if value is None:  # OpenAI's clients send null for what is not set
            assert response.status_code == 200
        elif (name, value) not in {("top_k", 1e9), ("seed", 1e9), ("seed", -3)}:
            assert response.status_code == 400 and response.json()["error"]["param"] == name, (name, value)


def test_seeds_decide_samples(app):
    def draw(seed):
        options = {"temperature": 2, "top_p": 1, "min_p": 0, "top_k": 0, "max_tokens": 12}
        return complete(app, seed=seed, **options)["choices"][0]["text"]

    texts = [draw(seed) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) == 3
    assert np.mean([a != b for a, b in zip(texts[0], texts[2])]) > 0.2


def test_thinking_under_the_names_of_other_servers():
    """OpenRouter's reasoning, Anthropic's thinking, vLLM's enable_thinking: each is what reasoning_effort says."""
    template = "{{ messages[0].content }}|{{ enable_thinking }}|{% if add_generation_prompt %}:{% endif %}"
    with app_of(FakeModel(context=256), template=template) as (app, _):

        def prompt(**more):
            body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "verbose": True, **more}
            return call(app, "POST", "/v1/chat/completions", json=body).json()["__verbose"]["prompt"]

        for off in (
            {"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}, {"reasoning": {"enabled": False}},
            {"thinking": {"type": "disabled"}}, {"enable_thinking": False},
        ):  # fmt: skip
            assert prompt(**off) == "x|False|:", off
        for on in (
            {"reasoning_effort": "max"},
            {"reasoning": {"effort": "high"}},
            {"thinking": {"type": "enabled"}},
            {"enable_thinking": True},
        ):
            assert prompt(**on) == "x|True|:", on
        for silent in ({}, {"thinking": {"type": "adaptive"}}, {"reasoning": {}}):
            assert prompt(**silent) == "x||:", silent


def test_thoughts_stay_in_the_content_where_asked():
    with app_of(Says("<think>\nhm\n</think>\nyes"), template=TEMPLATE + "{# <think> #}") as (app, _):
        body = {"messages": [{"role": "user", "content": "x"}]}
        apart, whole = (
            call(app, "POST", "/v1/chat/completions", json={**body, "reasoning_format": form}).json()["choices"][0][
                "message"
            ]
            for form in ("auto", "none")
        )
    assert apart["content"].strip() == "yes" and apart["reasoning_content"].strip() == "hm"
    assert whole["content"] == "<think>\nhm\n</think>\nyes" and "reasoning_content" not in whole


def test_what_says_nothing_and_what_is_missing(app):
    body = {"prompt": "hello", "max_tokens": 3}
    texts = [
        call(app, "POST", "/v1/completions", json={**body, **stop}).json()["choices"][0]["text"]
        for stop in ({}, {"stop": ""}, {"stop": [""]})
    ]
    assert texts[0] == texts[1] == texts[2] and len(texts[0]) == 3
    for path, sent, words in (
        ("/v1/chat/completions", b"", "the request has no body"),
        ("/v1/completions", b'{"prompt": []}', "prompt should not be empty"),
        ("/completion", b'{"prompt": "x", "n_cmpl": 2}', "n_cmpl"),
    ):
        told = call(app, "POST", path, content=sent, headers={"Content-Type": "application/json"})
        assert told.status_code == 400 and words in told.json()["error"]["message"], told.text

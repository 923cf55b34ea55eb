"""llama-server's own paths and fields around the fake model."""

import http.client
import json
import threading
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from serve_fakes import EOS, TEMPLATE, FakeModel, expected, make_engine, make_served
from serve_loopback import listening
from test_serve_api import PROMPT, app_of, call, rendered

from hfc.base.diagnostics import HfcError
from hfc.cli.serve import _origin
from hfc.runtime.chat import template_of_file
from hfc.runtime.sampler import Sampling
from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=1024)) as (app, _):
        yield app


def post(app, path, **body):
    return call(app, "POST", path, json=body)


SHORT = {
    "/chat/completions": {"messages": MESSAGES, "max_tokens": 3},
    "/responses": {"input": "hello", "max_output_tokens": 3},
    "/messages": {"messages": MESSAGES, "max_tokens": 3},
    "/messages/count_tokens": {"messages": MESSAGES},
    "/embeddings": {"input": "hello"},
}


def same(response):
    return {k: v for k, v in response.json().items() if k in ("choices", "content", "data", "input_tokens", "object")}


@pytest.mark.parametrize("path", SHORT)
def test_paths_without_v1_and_requests_without_a_model(app, path):
    short, long = post(app, path, **SHORT[path]), post(app, "/v1" + path, **SHORT[path], model="fake")
    assert short.status_code == long.status_code == 200 and same(short) == same(long)
    assert call(app, "GET", "/models").json() == call(app, "GET", "/v1/models").json()
    assert call(app, "GET", "/models/fake").json()["id"] == "fake" and call(app, "GET", "/nothing").status_code == 404


def test_the_page_answers_head(app):
    """And what else can be had, without a body that the next answer of the connection would begin with."""
    with listening(app) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        for path, status in (
            ("/", 200),
            ("/v1/models", 200),
            ("/models", 200),
            ("/api/tags", 200),
            ("/completion", 405),
        ):
            connection.request("HEAD", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, b"")
        connection.request("GET", "/api/version")
        assert json.loads(connection.getresponse().read())["version"]
        connection.close()


TARGETS = {
    "//v1/models": 200,
    "http://127.0.0.1:1/v1/models": 200,
    "HTTP://localhost/models": 200,
    "http://other.example/v1/models": 403,
    "http://[/v1": 404,
}


def test_whole_urls_and_a_slash_too_many(app):
    """A URL's host is the one that the client asks for, whatever the header says."""
    with listening(app) as url:
        for target, status in TARGETS.items():
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            connection.request("GET", target, headers={"Host": "localhost"})
            assert connection.getresponse().status == status, target
            connection.close()


def test_completion(app):
    whole = post(app, "/completion", prompt="hello", n_predict=6, return_tokens=True).json()
    assert whole["content"] == expected(b"hello", 6) and bytes(whole["tokens"]).decode() == whole["content"]
    assert (
        whole["stop"]
        and whole["stop_type"] == "limit"
        and whole["tokens_predicted"] == 6
        and whole["prompt"] == "hello"
    )
    timings = whole["timings"]
    assert (
        timings["prompt_n"] + timings["cache_n"] == 5 and timings["predicted_n"] == 6 and timings["predicted_ms"] >= 0
    )
    assert whole["generation_settings"]["n_predict"] == 6
    parts = [
        json.loads(p[6:])
        for p in post(app, "/completion", prompt="hello", n_predict=6, stream=True).text.split("\n\n")
        if p
    ]
    assert "".join(p["content"] for p in parts) == whole["content"] and [p["stop"] for p in parts] == [False] * 6 + [
        True
    ]


def test_prompts_of_every_kind(app):
    text = expected(b"hello", 3)
    for prompt in ("hello", list(b"hello"), {"prompt_string": "hello"}, [*b"hel", "lo"]):
        assert post(app, "/completion", prompt=prompt, n_predict=3).json()["content"] == text, prompt
    several = post(
        app, "/completions", prompt=["hello", list(b"hello"), {"prompt_string": "hello"}], n_predict=3
    ).json()
    assert [one["content"] for one in several] == [text] * 3


def test_fields_of_an_answer_and_probabilities(app):
    few = post(
        app, "/completion", prompt="hello", n_predict=2, response_fields=["content", "generation_settings/n_predict"]
    ).json()
    assert few == {"content": expected(b"hello", 2), "generation_settings/n_predict": 2}
    (token,) = post(app, "/completion", prompt="hello", n_predict=1, n_probs=3).json()["completion_probabilities"]
    assert len(token["top_logprobs"]) == 3 and token["id"] == token["top_logprobs"][0]["id"] and token["logprob"] <= 0


def test_no_limit_is_minus_one(app):
    for body in ({"max_tokens": -1}, {"max_completion_tokens": -1}):
        answer = post(
            app, "/v1/chat/completions", messages=[{"role": "user", "content": "x" * 950}], top_k=-1, **body
        ).json()
        assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["total_tokens"] > 1024
    assert post(app, "/completion", prompt="x" * 1000, n_predict=-1).json()["tokens_predicted"] > 20


def test_gbnf(app):
    grammar = 'root ::= "a" digit+ "!"\ndigit ::= [0-9]'
    for path, body in (("/v1/chat/completions", {"messages": MESSAGES}), ("/v1/completions", {"prompt": "hello"})):
        choice = post(app, path, grammar=grammar, max_tokens=8, logit_bias={"33": 1}, **body).json()["choices"][0]
        text = choice.get("text") or choice["message"]["content"]
        assert text[0] == "a" and text[1].isdigit(), text
    assert post(app, "/completion", prompt="hello", n_predict=3, json_schema={"const": "x"}).json()["content"] == '"x"'
    wrong = post(app, "/v1/chat/completions", messages=MESSAGES, grammar="root ::= (")
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "grammar"


def test_biases_as_llama_cpp_writes_them(app):
    def text(bias):
        return post(app, "/completion", prompt="hello", n_predict=2, logit_bias=bias).json()["content"]

    assert text([[ord("Q"), 100]]) == text({str(ord("Q")): 100}) == text([["Q", 100]]) == "QQ"
    first = text([])[0]
    assert text([[first, False]])[0] != first


def test_infill_needs_a_vocabulary_with_gaps(app):
    response = post(app, "/infill", input_prefix="a", input_suffix="b")
    assert response.status_code == 400 and "fill in the middle" in response.json()["error"]["message"]
    for extra in ({}, {"filename": "ok"}, {"filename": 123, "text": "abc"}):
        assert post(app, "/infill", input_prefix="a", input_suffix="b", input_extra=[extra]).status_code == 400


def test_templates_and_properties(app):
    assert post(app, "/apply-template", messages=MESSAGES).json()["prompt"] == PROMPT.decode()
    long = [{"role": "user", "content": "word " * 5000}]
    assert "word " * 5000 in post(app, "/apply-template", messages=long).json()["prompt"], "longer than the context"
    assert (
        post(app, "/apply-template", messages=MESSAGES, add_generation_prompt=False).json()["prompt"]
        == "user:hello<eos>"
    )
    props = call(app, "GET", "/props").json()
    assert props["chat_template"] == TEMPLATE and props["default_generation_settings"]["n_ctx"] == 1024


def test_tokens_under_llama_server_s_names(app):
    tokens = post(app, "/tokenize", content="hello").json()["tokens"]
    assert tokens == list(b"hello") and post(app, "/detokenize", tokens=tokens).json()["content"] == "hello"
    assert expected(rendered(PROMPT), 1)


def test_bodies_that_name_no_content_type_are_json(app):
    response = call(app, "POST", "/v1/completions", content=b'{"prompt": "hello", "max_tokens": 2}')
    assert response.status_code == 200 and response.json()["choices"][0]["text"] == expected(b"hello", 2)


def test_aliases_of_the_only_model():
    served = make_served(make_engine(FakeModel()))
    app = make_app(Models([served], aliases=("gpt-4o", "claude-haiku")), ServerSettings())
    answer = post(app, "/v1/completions", model="gpt-4o", prompt="hello", max_tokens=2).json()
    assert answer["choices"][0]["text"] == expected(b"hello", 2) and answer["model"] == "gpt-4o"
    assert post(app, "/v1/completions", model="gpt-5", prompt="hello").status_code == 404
    served.engine.close()
    with pytest.raises(HfcError, match="only model"):
        Models(aliases=("gpt-4o",))


@pytest.mark.parametrize("origin", ["localhost:3000", "example.org/", "http://a/b"])
def test_origins_that_no_browser_sends_are_refused(origin):
    with pytest.raises(HfcError, match="--cors"):
        _origin(origin)
    assert _origin("http://localhost:3000") == "http://localhost:3000" and _origin("*") == "*"


def test_localhost_as_an_origin_is_every_page_of_this_machine():
    app = make_app(
        Models([make_served(make_engine(FakeModel()))]), ServerSettings(cors_origins=(_origin("localhost"),))
    )
    for origin in ("http://localhost", "http://localhost:8080", "https://127.0.0.1:3000", "http://[::1]:3000"):
        asked = call(app, "OPTIONS", "/completion", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
        got = call(app, "GET", "/props", headers={"Origin": origin})
        assert asked.headers["access-control-allow-origin"] == origin == got.headers["access-control-allow-origin"]
    for origin in ("http://web.example", "http://notlocalhost", "http://localhost.evil.example", "null"):
        got = call(app, "GET", "/props", headers={"Origin": origin})
        assert got.status_code == 403 and "access-control-allow-origin" not in got.headers


def test_a_server_s_own_defaults_and_template():
    engine = make_engine(FakeModel(context=256))
    served = replace(
        make_served(engine, "<{{ messages[0].content }}>"), usual_tokens=5, default=Sampling(3.0, 0, 1, 0, seed=7)
    )
    app = make_app(Models([served], aliases=("*",)), ServerSettings())
    answer = post(app, "/v1/chat/completions", model="any at all", messages=MESSAGES).json()
    assert answer["usage"]["completion_tokens"] == 5 and answer["model"] == "any at all"
    for path, body in (("/completion", {}), ("/v1/completions", {}), ("/api/generate", {"raw": True, "stream": False})):
        told = post(app, path, prompt="hello", **body).json()
        assert 5 in (
            told.get("tokens_predicted"),
            told.get("eval_count"),
            told.get("usage", {}).get("completion_tokens"),
        )
    assert post(app, "/completion", prompt="hello", n_predict=-1).json()["tokens_predicted"] > 100
    texts = [
        post(app, "/completion", prompt="hello", **s).json()["content"] for s in ({}, {}, {"seed": 8}, {"seed": -1})
    ]
    assert texts[0] == texts[1] and len(set(texts)) == 3
    first, second = post(app, "/v1/completions", prompt="hello", n=2).json()["choices"]
    assert first["text"] != second["text"]
    assert post(app, "/apply-template", messages=MESSAGES).json()["prompt"] == "<hello>"
    engine.close()


def test_a_server_s_own_variables_of_templates_give_way_to_a_request_s():
    """`hfc serve --think off --var date_string=today`."""
    engine = make_engine(FakeModel(context=256))
    variables = {"enable_thinking": False, "date_string": "today"}
    served = replace(make_served(engine, "{{ enable_thinking }} {{ date_string }}"), variables=variables)
    app = make_app(Models([served]), ServerSettings())
    for fields, told in (
        ({}, "False today"),
        ({"reasoning_effort": "high"}, "True today"),
        ({"chat_template_kwargs": {"date_string": "then"}}, "False then"),
    ):
        assert post(app, "/apply-template", messages=MESSAGES, **fields).json()["prompt"] == told
    engine.close()


def test_a_template_file_is_read_and_checked(tmp_path):
    file = tmp_path / "t.jinja"
    for text, words in (("{% if %}", "not valid Jinja"), (b"\xff", "UTF-8"), (None, "cannot be read")):
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(HfcError, match=words):
            template_of_file(file)
    file.write_text("{{ messages }}")
    assert template_of_file(file) == "{{ messages }}"


def test_slots_tell_what_they_do():
    model = FakeModel(context=256, gate=threading.Semaphore(0), slots=2)
    with app_of(model) as (app, engine):
        idle = {"is_processing": False, "n_ctx": 256, "n_prompt_tokens": 0}
        assert [{k: s[k] for k in idle} for s in call(app, "GET", "/slots").json()] == [idle, idle]
        asking = threading.Thread(target=post, args=(app, "/completion"), kwargs={"prompt": "hello", "n_predict": 3})
        asking.start()
        end = time.monotonic() + 10
        while not engine.running():
            assert time.monotonic() < end
            time.sleep(0.005)
        busy = [s for s in call(app, "GET", "/slots").json() if s["is_processing"]]
        assert len(busy) == 1 and busy[0]["n_prompt_tokens"] == 5
        assert busy[0]["next_token"][0]["n_remain"] + busy[0]["next_token"][0]["n_decoded"] == 3
        assert "hello" not in json.dumps(busy)
        model.gate.release(1000)
        asking.join(10)
        assert not any(s["is_processing"] for s in call(app, "GET", "/slots").json())


def test_ignored_ends_are_forbidden(app):
    """As llama-server: they are never chosen, and the settings say so."""
    for asked in (True, False):
        told = post(app, "/completion", prompt="hello", n_predict=2, ignore_eos=asked).json()["generation_settings"]
        assert told["logit_bias"] == ([{"token": EOS, "bias": None}] if asked else [])
    biased = {"logit_bias": {"zz": -100, str(EOS): 100}, "n_predict": 3}
    assert post(app, "/completion", prompt="hello", **biased, ignore_eos=True).json()["tokens_predicted"] == 3
    assert post(app, "/completion", prompt="hello", **biased).json()["stop_type"] == "eos"


def test_a_long_prompt_in_the_words_of_each_dialect(app):
    long = "x" * 2000
    own = post(app, "/completion", prompt=long).json()["error"]
    assert own["type"] == "exceed_context_size_error" and "exceeds the available context size" in own["message"]
    chat = post(app, "/chat/completions", messages=[{"role": "user", "content": long}]).json()["error"]
    assert chat["code"] == "context_length_exceeded" and "maximum context length" in chat["message"]
    for error in (own, chat):
        assert error["n_ctx"] == 1024 < error["n_prompt_tokens"]


def test_schemas_and_limits_under_llama_server_s_names(app):
    schema = {"json_schema": {"const": "x"}}
    chat = post(app, "/v1/chat/completions", messages=MESSAGES, **schema, n_predict=8).json()
    assert chat["choices"][0]["message"]["content"] == '"x"'
    assert post(app, "/v1/completions", prompt="hello", **schema, n_predict=8).json()["choices"][0]["text"] == '"x"'
    assert post(app, "/v1/completions", prompt="hello", n_predict=3).json()["usage"]["completion_tokens"] == 3
    tool = {"type": "function", "function": {"name": "f"}}
    for body, param in (
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"response_format": {"type": "json_object"}}, "json_schema"),
        ({"tools": [tool], "tool_choice": "required"}, "tool_choice"),
    ):
        wrong = post(app, "/v1/chat/completions", messages=MESSAGES, **schema, **body)
        assert wrong.status_code == 400 and wrong.json()["error"]["param"] == param, body


def test_input_tokens_are_counted_without_an_answer(app):
    prompt = post(app, "/v1/chat/completions", messages=MESSAGES, max_tokens=1).json()["usage"]["prompt_tokens"]
    for path, body in (("/chat/completions", {"messages": MESSAGES}), ("/responses", {"input": "hello"})):
        told = post(app, f"/v1{path}/input_tokens", **body).json()
        assert told == {"object": "response.input_tokens", "input_tokens": prompt}


def test_verbose_shows_the_prompt(app):
    told = post(app, "/v1/chat/completions", messages=MESSAGES, max_tokens=2, verbose=True).json()
    assert told["__verbose"] == {"prompt": PROMPT.decode(), "content": told["choices"][0]["message"]["content"]}


def test_pieces_of_tokens(app):
    told = post(app, "/tokenize", content="hé<eos>", with_pieces=True).json()["tokens"]
    assert told == [
        {"id": ord("h"), "piece": "h"},
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
        {"id": EOS, "piece": "<eos>"},
    ]
    assert post(app, "/tokenize", content="<eos>", parse_special=False).json()["tokens"] == list(b"<eos>")
    assert post(app, "/tokenize", prompt="<eos>").json()["tokens"] == list(b"<eos>")
    assert post(app, "/tokenize", prompt="a", content="b").status_code == 400

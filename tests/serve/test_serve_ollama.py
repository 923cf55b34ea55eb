"""Ollama's API around the fake model: lines, options, formats, thoughts, calls, durations, models that come and go."""

import asyncio
import json
import time

import httpx
import numpy as np
import pytest
from safetensors import numpy
from serve_fakes import FakeModel, Says, expected, make_engine, make_served
from test_serve_api import PROMPT, app_of, call, rendered

from hfc.base.diagnostics import HfcError
from hfc.runtime import registry
from hfc.runtime.summary import ModelSummary, summary_of
from hfc.serve.app import make_app
from hfc.serve.errors import ApiError
from hfc.serve.metrics import Meters
from hfc.serve.models import Models, Prepared
from hfc.serve.ollama import seconds_of
from hfc.serve.served import ServerSettings

HELLO = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=1024)) as (app, _):
        yield app


def post(app, path, **body):
    return call(app, "POST", f"/api/{path}", json=body)


def lines(response):
    assert response.headers["content-type"] == "application/x-ndjson", response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_chat_and_its_stream_are_equal(app):
    began = time.monotonic()
    whole = post(app, "chat", **HELLO, stream=False, options={"num_predict": 7}).json()
    took_ns = (time.monotonic() - began) * 1e9
    assert whole["message"] == {"role": "assistant", "content": expected(rendered(PROMPT), 7)}
    assert whole["done"] and whole["done_reason"] == "length" and whole["eval_count"] == 7
    assert whole["prompt_eval_count"] == len(rendered(PROMPT))
    assert 0 < whole["eval_duration"] < whole["total_duration"] < took_ns and whole["load_duration"] >= 0
    assert whole["prompt_eval_duration"] + whole["eval_duration"] <= whole["total_duration"]
    parts = lines(post(app, "chat", **HELLO, options={"num_predict": 7}))
    assert "".join(p["message"]["content"] for p in parts) == whole["message"]["content"]
    assert [p["done"] for p in parts] == [False] * (len(parts) - 1) + [True]


def test_log_probabilities(app):
    ask = {**HELLO, "options": {"num_predict": 7}, "logprobs": True, "top_logprobs": 2}
    whole = post(app, "chat", **ask, stream=False).json()
    entries = whole["logprobs"]
    assert "".join(e["token"] for e in entries) == whole["message"]["content"] and len(entries) == 7
    assert all(len(e["top_logprobs"]) == 2 and e["logprob"] <= 0 and e["bytes"] for e in entries)
    parts = lines(post(app, "chat", **ask))
    assert [e for part in parts for e in part.get("logprobs", ())] == entries
    for more in ({}, {"raw": True}):
        text = {"prompt": "hello", "stream": False, "options": {"num_predict": 3}, **more}
        told = post(app, "generate", model="fake", logprobs=True, **text).json()
        assert [e["token"] for e in told["logprobs"]] == list(told["response"])
        assert told["logprobs"][0]["top_logprobs"] == [] and "logprobs" not in post(app, "generate", **text).json()


def test_texts_with_the_template_and_without(app):
    def told(**more):
        return post(
            app, "generate", model="fake", prompt="hello", stream=False, options={"num_predict": 5}, **more
        ).json()["response"]

    assert told() == expected(rendered(PROMPT), 5)
    assert told(raw=True) == expected(b"hello", 5)
    assert told(system="s") == expected(rendered(b"system:s<eos>" + PROMPT), 5)


def test_options_reach_the_engine():
    options = {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.1,
        "repeat_penalty": 1.2,
        "seed": 4,
        "presence_penalty": 0.5,
    }
    with app_of(FakeModel(context=512)) as (app, engine):
        jobs, submit = [], engine.submit
        engine.submit = lambda sequences: (jobs.extend(s.job for s in sequences), submit(sequences))
        more = {"num_predict": 2.0, "stop": ["zz"], "num_ctx": 4096, "num_gpu": 1, "mirostat": 0}
        assert post(app, "chat", **HELLO, stream=False, options={**options, **more}).status_code == 200
        assert all(getattr(jobs[0].sampling, name) == value for name, value in options.items())
        assert jobs[0].max_tokens == 2 and jobs[0].stop_texts == ("zz",)
        refused = post(app, "chat", **HELLO, options={"mirostat": 2})
        assert refused.status_code == 400 and "options.mirostat" in refused.json()["error"]


def test_formats(app):
    for stream in (True, False):
        response = post(app, "chat", **HELLO, format={"const": ["x"]}, stream=stream, options={"num_predict": 40})
        parts = lines(response) if stream else [response.json()]
        assert json.loads("".join(p["message"]["content"] for p in parts)) == ["x"]
    begun = post(app, "chat", **HELLO, format="json", stream=False, options={"num_predict": 40}).json()
    assert begun["message"]["content"].strip()[0] == "{"


def test_thoughts_and_calls():
    template = "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}<think>{% if enable_thinking is false %}</think>{% endif %}assistant:{% endif %}{# <tool_call> tools #}"
    call_text = '<tool_call>\n{"name": "f", "arguments": {"a": [1]}}\n</tool_call>'
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {}}}},
    }
    with app_of(Says("hm</think>" + call_text, context=1024), template=template) as (app, _):
        whole = post(app, "chat", **HELLO, tools=[tool], stream=False).json()["message"]
        assert whole["thinking"] == "hm" and whole["tool_calls"][0]["function"] == {
            "index": 0,
            "name": "f",
            "arguments": {"a": [1]},
        }
        parts = lines(post(app, "chat", **HELLO, tools=[tool]))
        assert "".join(p["message"].get("thinking", "") for p in parts) == "hm" and parts[-1]["done_reason"] == "stop"
        calls = [c for p in parts for c in p["message"].get("tool_calls", ())]
        assert [c["function"] for c in calls] == [whole["tool_calls"][0]["function"]]
        history = [
            *HELLO["messages"],
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_name": "f", "content": "42"},
        ]
        assert post(app, "chat", model="fake", messages=history, stream=False, think=False).status_code == 200
        cut = post(app, "chat", model="fake", messages=[*HELLO["messages"], history[-1]], stream=False, think="max")
        assert cut.status_code == 200, "clients cut long histories"


def test_lists_and_details(app):
    assert call(app, "GET", "/api/version").json()["version"].count(".") == 2
    (listed,) = call(app, "GET", "/api/tags").json()["models"]
    (runs,) = call(app, "GET", "/api/ps").json()["models"]
    assert listed["name"] == runs["name"] == "fake" and runs["context_length"] == 1024
    shown = post(app, "show", model="fake:latest").json()
    assert (
        "completion" in shown["capabilities"]
        and "tools" in shown["capabilities"]
        and "{{ m.content }}" in shown["template"]
    )


def test_embeddings(app):
    both = post(app, "embed", model="fake", input=["ab", "c"]).json()
    one = post(app, "embed", model="fake", input="c").json()
    assert both["embeddings"][1] == one["embeddings"][0] and both["prompt_eval_count"] == 3
    assert sum(x * x for x in one["embeddings"][0]) == pytest.approx(1, abs=1e-6)
    assert post(app, "embeddings", model="fake", prompt="c").json()["embedding"] == one["embeddings"][0]


def test_errors_are_ollama_s(app):
    unknown = post(app, "chat", model="nope", messages=HELLO["messages"])
    assert unknown.status_code == 404 and "nope" in unknown.json()["error"]
    for body in ({"model": "fake", "messages": "x"}, {**HELLO, "images": ["zz"]}, {**HELLO, "keep_alive": "soon"}):
        response = post(app, "chat", **body)
        assert response.status_code == 400 or "images" in body
        assert isinstance(response.json().get("error", ""), str) if response.status_code == 400 else True
    picture = post(app, "chat", model="fake", messages=[{"role": "user", "content": "x", "images": ["zz"]}])
    assert picture.status_code == 400 and "messages.0.images" in picture.json()["error"]


@pytest.mark.parametrize(
    ("text", "seconds"), [(5, 5), ("5m", 300), ("1h30m", 5400), ("-1", -1), (0, 0), ("250ms", 0.25)]
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


def test_what_is_no_duration():
    with pytest.raises(ApiError, match="soon"):
        seconds_of("soon")


class Source:
    """A fake model that can be loaded again and again."""

    def __init__(self, name="fake"):
        self.name = name

    disk_bytes = 1234

    def summary(self):
        return ModelSummary("gguf", "llama", 134_515_008, "Q4_1")

    def prepare(self):
        return Prepared(1, lambda: make_served(make_engine(FakeModel(context=256))))


DETAILS = {
    "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "134.5M", "quantization_level": "Q4_1",
}  # fmt: skip


def test_what_lists_say_of_a_checkpoint(smollm2_gguf, tmp_path):
    assert summary_of(smollm2_gguf) == Source().summary()
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    numpy.save_file({"a": np.zeros((1000, 2), np.float16), "b": np.zeros(30, np.float32)}, tmp_path / "m.safetensors")
    found = summary_of(tmp_path)
    assert found == ModelSummary("safetensors", "qwen3", 2030, "F16") and found.size_text == "2.0K"
    assert ModelSummary(parameters=8_030_261_248).size_text == "8.0B" and ModelSummary().size_text == ""


def test_keep_alive_loads_and_unloads():
    async def main():
        models = Models(sources=[Source()], meters=Meters())
        transport = httpx.ASGITransport(make_app(models, ServerSettings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            loaded = (await client.post("/api/generate", json={"model": "fake", "keep_alive": "10m"})).json()
            assert loaded["done_reason"] == "load" and models.loaded
            (listed,) = (await client.get("/api/tags")).json()["models"]
            (runs,) = (await client.get("/api/ps")).json()["models"]
            assert listed["size"] == Source.disk_bytes and (runs["size"], runs["size_vram"]) == (1, 1)
            shown = (await client.post("/api/show", json={"model": "fake"})).json()
            assert listed["details"] == runs["details"] == shown["details"] == DETAILS
            told = shown["model_info"]
            assert (told["general.architecture"], told["general.parameter_count"]) == ("llama", 134_515_008)
            assert told["llama.context_length"] == 256
            await models.unload_idle()
            assert models.loaded
            unloaded = (await client.post("/api/generate", json={"model": "fake", "keep_alive": 0})).json()
            assert unloaded["done_reason"] == "unload"
            await asyncio.sleep(0.01)
            await models.unload_idle()
            assert not models.loaded

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_model_of_the_registry_is_pulled_with_progress(monkeypatch, tmp_path):
    entry = registry.RegistryEntry(
        "tiny:1m", "a model", license="mit", file="tiny.gguf", size_bytes=100, sha256="ab" * 32
    )
    monkeypatch.setitem(registry.REGISTRY._entries, entry.name, entry)
    monkeypatch.setattr(registry, "cached_path", lambda entry: tmp_path / entry.file)

    def fake_pull(entry, source, report):
        report("downloading")
        (tmp_path / "part").write_bytes(bytes(40))
        time.sleep(0.4)
        return tmp_path / entry.file

    monkeypatch.setattr("hfc.runtime.pull.pull", fake_pull)
    models = Models([make_served(make_engine(FakeModel()))], find=Source)
    app = make_app(models, ServerSettings())
    told = lines(post(app, "pull", model="tiny:1m"))
    assert told[0] == {"status": "pulling manifest"} and told[-1] == {"status": "success"}
    assert {"status": "downloading"} in told and {t.get("completed") for t in told} >= {40, 100}
    assert {t["total"] for t in told if "total" in t} == {100}
    assert [m["name"] for m in call(app, "GET", "/api/tags").json()["models"]] == ["fake", "tiny:1m"]
    assert "unknown model" in lines(post(app, "pull", model="nope"))[-1]["error"]
    models.close()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HfcError("the hash is wrong"), "the hash is wrong"),
        (OSError(28, "No space left on device", "tiny.gguf"), "tiny.gguf: No space left on device"),
        (RuntimeError("secret"), "the server failed at this model (RuntimeError)"),
    ],
)
def test_a_pull_that_fails_ends_with_an_error_line(monkeypatch, tmp_path, error, message):
    entry = registry.RegistryEntry(
        "tiny:1m", "a model", license="mit", file="tiny.gguf", size_bytes=1, sha256="ab" * 32
    )
    monkeypatch.setitem(registry.REGISTRY._entries, entry.name, entry)
    monkeypatch.setattr(registry, "cached_path", lambda entry: tmp_path / entry.file)

    def failing_pull(*_):
        raise error

    monkeypatch.setattr("hfc.runtime.pull.pull", failing_pull)
    models = Models([make_served(make_engine(FakeModel()))], find=Source)
    app = make_app(models, ServerSettings())
    told = lines(post(app, "pull", model="tiny:1m"))
    assert told[0] == {"status": "pulling manifest"} and told[-1] == {"error": message}
    whole = post(app, "pull", model="tiny:1m", stream=False)
    assert whole.status_code == 500 and whole.json() == {"error": message}
    models.close()

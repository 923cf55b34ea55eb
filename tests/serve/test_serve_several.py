"""Several models: loaded when asked for, unloaded for others or when idle, and never while somebody is answered."""

import asyncio
import gc
import json
import threading
import time
import weakref
from dataclasses import replace

import httpx
import pytest
import tokenizers
from fake_driver import FakeDriver
from model_reference import MODELS
from serve_fakes import GREEDY, TOKENIZER, FakeModel, expected, make_engine
from serve_loopback import listening
from test_serve_api import call

from hfc.base.diagnostics import HfcError
from hfc.cli.serve_source import ModelOnDisk, ServeChoice, device_cache_of, models_in, sources_of
from hfc.compiler import CompileOptions, compile_model
from hfc.runtime import executor
from hfc.runtime.fit import RESERVE
from hfc.runtime.source import name_of
from hfc.runtime.summary import ModelSummary
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.app import make_app
from hfc.serve.metrics import Meters, Metrics
from hfc.serve.models import Models, Prepared
from hfc.serve.served import Served, ServerSettings


class Fake:
    """A source of FakeModels of `nbytes`; keeps those that it made."""

    def __init__(self, name, meters, nbytes=10, gate=None, prepare_s=0.0, problem=None):
        self.name, self.meters, self.nbytes, self.gate, self.prepare_s, self.problem = (
            name,
            meters,
            nbytes,
            gate,
            prepare_s,
            problem,
        )
        self.made = []

    disk_bytes, summary = 0, ModelSummary

    def prepare(self):
        time.sleep(self.prepare_s)
        if self.problem:
            raise HfcError(self.problem)
        return Prepared(self.nbytes, self._load)

    def _load(self):
        model = FakeModel(gate=self.gate, context=512)
        self.made.append(model)
        engine = make_engine(model, metrics=Metrics(self.name, self.meters))
        return Served(self.name, Vocabulary(TOKENIZER, None), engine, GREEDY)


def fakes(*names, limit=None, idle_s=None, **options):
    meters = Meters()
    sources = [Fake(name, meters, **options) for name in names]
    models = Models((), sources, meters, limit, idle_s)
    return make_app(models, ServerSettings()), models, sources


def ask(app, model, prompt="hello", count=4):
    answer = call(app, "POST", "/v1/completions", json={"model": model, "prompt": prompt, "max_tokens": count})
    return answer.json()["choices"][0]["text"] if answer.status_code == 200 else answer


def states(app):
    return {m["id"]: m["state"] for m in call(app, "GET", "/v1/models").json()["data"]}


def test_models_load_when_they_are_asked_for():
    app, models, (a, b) = fakes("a", "b")
    assert states(app) == {"a": "unloaded", "b": "unloaded"}
    assert call(app, "GET", "/v1/models/a").json()["slots"] is None and call(app, "GET", "/ready").json()["ready"]
    assert ask(app, "a") == expected(b"hello", 4) and states(app) == {"a": "loaded", "b": "unloaded"}
    assert ask(app, "b") == ask(app, "a") and len(a.made) == len(b.made) == 1
    assert call(app, "GET", "/v1/models/a").json()["slots"] == 3
    assert ask(app, "c").status_code == 404
    text = call(app, "GET", "/metrics").text
    assert 'hfc_generated_tokens_total{model="a"} 8.0' in text and 'hfc_generated_tokens_total{model="b"} 4.0' in text
    assert text.count("# HELP hfc_slots ") == 1
    models.close()


def test_the_least_recently_used_makes_room():
    app, models, (a, b, c) = fakes("a", "b", "c", limit=25)
    for name in "abac":
        ask(app, name)
    assert states(app) == {"a": "loaded", "b": "unloaded", "c": "loaded"}
    assert b.made[0].is_closed and not a.made[0].is_closed
    assert ask(app, "b") == expected(b"hello", 4) and states(app)["a"] == "unloaded" and len(b.made) == 2
    models.close()


def test_what_never_fits_says_so():
    app, models, _ = fakes("a", limit=5)
    refused = ask(app, "a")
    assert (
        refused.status_code == 503
        and refused.json()["error"]["code"] == "model_not_loaded"
        and "retry-after" in refused.headers
    )
    assert states(app) == {"a": "failed"} and "MiB" in call(app, "GET", "/v1/models/a").json()["error"]


def test_a_model_that_cannot_be_read_says_why_and_may_be_tried_again():
    app, models, (a,) = fakes("a", problem="the file is damaged")
    assert "the file is damaged" in ask(app, "a").json()["error"]["message"]
    a.problem = None
    assert ask(app, "a") == expected(b"hello", 4)
    models.close()


def test_many_who_ask_at_once_load_once():
    app, models, (a, b) = fakes("a", "b", limit=15, prepare_s=0.1)

    async def main():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=20
        ) as client:
            bodies = [{"model": name, "prompt": f"p{i}", "max_tokens": 5} for i, name in enumerate("aaabbbab")]
            return bodies, await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))

    for body, answer in zip(*asyncio.run(main())):
        assert answer.json()["choices"][0]["text"] == expected(body["prompt"].encode(), 5)
    assert len(a.made) + len(b.made) <= 4, "those who wait for one model share its load"
    models.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_running_answer_is_not_cut_for_another_model(stream):
    gate = threading.Semaphore(0)
    app, models, (a, b) = fakes("a", "b", limit=15)
    a.gate = gate
    answers = {}

    def post(url, name):
        body = {"model": name, "prompt": "hello", "max_tokens": 30, "stream": stream and name == "a"}
        answers[name] = httpx.post(f"{url}/v1/completions", json=body, timeout=30).text

    with listening(app) as url:
        first, second = (threading.Thread(target=post, args=(url, name)) for name in "ab")
        first.start()
        wait_for(lambda: a.made and models.loaded and models.loaded[0].engine.active)
        second.start()
        wait_for(lambda: models.entries[0].is_leaving)
        time.sleep(0.2)
        assert not a.made[0].is_closed and not b.made
        third = threading.Thread(target=post, args=(url, "a"))  # it must not keep b waiting for ever
        gate.release(10000)
        third.start()
        for thread in (first, second, third):
            thread.join(20)
        for name in "ab":
            if stream and name == "a":
                lines = [line for line in answers["a"].splitlines() if line.startswith("data: {")]
                text = "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines)
            else:
                text = json.loads(answers[name])["choices"][0]["text"]
            assert text == expected(b"hello", 30)
    models.close()


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_idle_model_is_unloaded_and_a_busy_one_is_not():
    gate = threading.Semaphore(0)
    app, models, (a, b) = fakes("a", "b", idle_s=0.2)
    a.gate = gate
    with listening(app) as url:
        thread = threading.Thread(
            target=httpx.post,
            args=(f"{url}/v1/completions",),
            kwargs={"json": {"model": "a", "prompt": "x", "max_tokens": 30}, "timeout": 30},
        )
        thread.start()
        httpx.post(f"{url}/v1/completions", json={"model": "b", "prompt": "x", "max_tokens": 2}, timeout=30)
        wait_for(lambda: b.made and b.made[0].is_closed)
        assert not a.made[0].is_closed and models.entries[0].state == "loaded"
        gate.release(10000)
        thread.join(20)
        wait_for(lambda: a.made[0].is_closed)
    assert not models.loaded and "hfc_slots{" not in models.meters.text().decode()


def test_two_models_of_one_name_are_refused():
    with pytest.raises(HfcError, match="same name"):
        fakes("a", "a")


def test_a_folder_of_real_models_and_the_memory_of_one_that_is_unloaded(tmp_path):
    for name in ("llama", "qwen3"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (tmp_path / name / file).symlink_to(MODELS / name / file)
        words = tokenizers.models.BPE({"a": 0, "b": 1}, [])
        tokenizers.Tokenizer(words).save(str(tmp_path / name / "tokenizer.json"))
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "big-00002-of-00002.gguf").write_bytes(b"GGUF")
    assert [p.name for p in models_in(tmp_path)] == ["llama", "qwen3"]
    choice = ServeChoice("host", 1, 64, None, None, 2, ("last_hidden",), 1 << 20, 0, 8, 4, {})
    meters = Meters()
    sources = [ModelOnDisk(*found, choice, meters) for found in sources_of([], tmp_path)]
    sizes = [s.prepare().nbytes for s in sources]
    models = Models((), sources, meters, limit_bytes=max(sizes) + 1000)

    async def main():
        entry = await models.take("llama")
        model = weakref.ref(entry.served.engine.model)
        assert entry.served.engine.model.slots == 2 and entry.nbytes > 1 << 20
        models.give_back(entry)
        entry = await models.take("qwen3")
        gc.collect()
        assert model() is None, "something holds the model that was unloaded"
        models.give_back(entry)

    asyncio.run(main())
    models.close()


@pytest.mark.long
def test_drawn_weights_need_a_vocabulary_and_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: FakeDriver())
    config, bundle = tmp_path / "config.json", tmp_path / "shape.hfp"
    config.write_bytes((MODELS / "qwen3_5_text" / "config.json").read_bytes())
    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, [])).save(str(tmp_path / "tokenizer.json"))
    compile_model(config, ["sm_90"], CompileOptions(ctx=96, slots=3, default_format="q8_0")).save(bundle)
    choice = ServeChoice("cuda", None, None, None, str(tmp_path), None, (), 1 << 20, 0, 8, 4, {}, random_weights=True)
    source = ModelOnDisk(*sources_of([str(bundle)], None)[0], choice, Meters())
    served = source.prepare().load()
    assert served.engine.limits.slots == 3 and served.tokenizer.decode([1, 0, 99]) == "ba"
    served.engine.close()
    source = ModelOnDisk(*sources_of([str(bundle)], None)[0], replace(choice, device="host"), Meters())
    with pytest.raises(HfcError, match="--random-weights"):
        source.prepare()


def test_a_cache_in_device_memory_is_for_gpus(monkeypatch):
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: FakeDriver(memory_bytes=4 << 30))
    assert device_cache_of("cuda", None) == (4 << 30) // 16 - RESERVE // 16 and device_cache_of("cuda:1", 7) == 7 << 20
    assert device_cache_of("cuda", 0) == device_cache_of("host", None) == device_cache_of("host", 0) == 0
    with pytest.raises(HfcError, match="one memory"):
        device_cache_of("host", 5)


def test_names_and_empty_folders(tmp_path):
    assert name_of("smollm2:135m") == "smollm2:135m"
    (tmp_path / "x.Q4_K_M.gguf").touch()
    assert name_of(str(tmp_path / "x.Q4_K_M.gguf")) == "x.Q4_K_M"
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(HfcError, match="--models"):
            models_in(tmp_path / folder)

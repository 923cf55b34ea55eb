"""What a request names is checked before it reaches the engine: ids, counts and biases that a model does not have are a 400."""

import asyncio
import dataclasses
import json

import pytest
from serve_fakes import EOS, TOKENIZER, VOCAB, Device, FakeModel, expected, make_engine, sequence_of
from test_serve_api import HELLO, app_of, call

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.app import make_app
from hfc.serve.job import check_job
from hfc.serve.models import Models
from hfc.serve.served import Served, ServerSettings

ASK = {"model": "fake", "prompt": "hello", "max_tokens": 4}
REFUSED = [
    ({"stop_token_ids": [VOCAB], "min_tokens": 1}, "stop_token_ids"),
    ({"stop_token_ids": [2**31 - 1]}, "stop_token_ids"),
    ({"logit_bias": {str(VOCAB): 1}}, "logit_bias"),
    ({"logit_bias": {"1" * 5000: 1}}, "logit_bias"),
    ({"logit_bias": {"٣": 1}}, "logit_bias"),
    ({"logit_bias": {str(i): -100 for i in range(VOCAB)}}, "logit_bias"),
    ({"prompt": [VOCAB]}, "prompt"),
    ({"n": 17}, "n"),
    ({"stop": "x" * 1025}, "stop"),
    ({"stop": ["a", "x" * 1025]}, "stop.1"),
    ({"logprobs": 21}, "logprobs"),
    ({"max_tokens": 1 << 40}, "max_tokens"),
]


@pytest.mark.parametrize("model", [FakeModel, Device])
@pytest.mark.parametrize(("change", "param"), REFUSED, ids=[json.dumps(c)[:40] for c, _ in REFUSED])
def test_what_a_model_does_not_have_is_refused_at_the_door(model, change, param):
    with app_of(model(context=128)) as (app, engine):
        response = call(app, "POST", "/v1/completions", json={**ASK, **change})
        assert response.status_code == 400 and response.json()["error"]["param"] == param, response.text
        assert call(app, "POST", "/v1/completions", json=ASK).json()["choices"][0]["text"] == expected(b"hello", 4)
        assert engine.failure is None and engine.restarts == 0


@pytest.mark.parametrize("model", [FakeModel, Device])
def test_what_leaves_no_token_to_choose_is_the_request_s_fault(model):
    """Each alone allows something: a grammar of one letter, and a bias that forbids it."""
    asked = {
        **HELLO,
        "response_format": {"type": "regex", "pattern": "x+"},
        "logit_bias": {str(ord("x")): -100},
        "max_tokens": 4,
    }
    with app_of(model(context=128)) as (app, engine):
        response = call(app, "POST", "/v1/chat/completions", json=asked)
        assert response.status_code == 400 and "no token" in response.json()["error"]["message"], response.text
        streamed = call(app, "POST", "/v1/chat/completions", json={**asked, "stream": True}).text
        assert "no token" in streamed and "[DONE]" not in streamed and engine.restarts == 0


def test_ends_that_a_checkpoint_names_beyond_its_vocabulary_are_not_waited_for():
    engine = make_engine(FakeModel(context=128))
    tokenizer = dataclasses.replace(TOKENIZER, stop_ids=frozenset({EOS, VOCAB, 10**9, -1}))
    app = make_app(Models([Served("fake", Vocabulary(tokenizer, None), engine)]), ServerSettings())
    body = call(app, "POST", "/v1/completions", json={**ASK, "min_tokens": 2, "temperature": 0}).json()
    assert body["choices"][0]["text"] == expected(b"hello", 4) and engine.restarts == 0
    engine.close()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": ()},
        {"prompt": (VOCAB,)},
        {"prompt": (-1,)},
        {"prompt": (1,) * 300},
        {"stop_ids": frozenset({VOCAB})},
        {"stop_ids": frozenset({-1})},
        {"max_tokens": -1},
        {"logprobs": VOCAB + 1},
        {"pool": "most"},
    ],
)
def test_the_engine_s_own_door(change):
    async def main():
        engine = make_engine(FakeModel())
        job = dataclasses.replace(sequence_of(engine, "ok").job, **change)
        with pytest.raises(HfcError):
            check_job(job, VOCAB, 256)
        sequence = sequence_of(engine, "ok")
        sequence.job = job
        with pytest.raises(HfcError):
            engine.submit([sequence])
        engine.close()

    asyncio.run(main())


def test_health_and_ready_say_that_a_step_failed_and_that_a_device_is_lost(caplog):
    caplog.set_level("CRITICAL")
    model = FakeModel(context=128)
    with app_of(model) as (app, engine):
        assert call(app, "GET", "/health").json() == {"status": "ok", "restarts": 0, "reasons": []}
        model.fail = OSError("bad step")
        assert call(app, "POST", "/v1/completions", json=ASK).status_code == 500
        model.fail = None
        assert call(app, "POST", "/v1/completions", json=ASK).json()["choices"][0]["text"] == expected(b"hello", 4)
        health = call(app, "GET", "/health")
        assert health.status_code == 200 and health.json()["restarts"] == 1 and "OSError" in health.json()["reasons"][0]
        model.fail = DeviceLost("the card is gone")
        assert "the card is gone" in call(app, "POST", "/v1/completions", json=ASK).json()["error"]["message"]
        for path in ("/health", "/ready"):
            answer = call(app, "GET", path)
            assert answer.status_code == 503 and "the card is gone" in answer.text, answer.text
        assert call(app, "POST", "/v1/completions", json=ASK).status_code == 503


def test_an_engine_that_is_lost_is_told_to_the_process():
    model = FakeModel()
    model.fail = DeviceLost("gone")

    async def main():
        engine = make_engine(model)
        told = asyncio.Event()
        models = Models([Served("fake", Vocabulary(TOKENIZER, None), engine)], idle_s=0.01, on_failure=told.set)
        watch = asyncio.ensure_future(models.watch())
        engine.submit([sequence_of(engine, "x")])
        await asyncio.wait_for(told.wait(), 5)
        watch.cancel()
        engine.close()

    asyncio.run(main())

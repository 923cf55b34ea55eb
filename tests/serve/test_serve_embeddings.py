"""Embeddings: pooling, encodings, shortening, batches beyond the slots, and SmolLM2's against its own hidden states."""

import asyncio
import base64

import httpx
import numpy as np
import openai
import pytest
from serve_fakes import FakeModel, expected
from test_serve_api import app_of, call

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.vocabulary import pooling_of_folder, pooling_of_gguf
from hfc.step import Step


def embed(app, status=200, **body):
    answer = call(app, "POST", "/v1/embeddings", json={"model": "fake", **body})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


@pytest.fixture(scope="module")
def app():
    with app_of() as (app, _):
        yield app


def unit(values):
    return np.asarray(values, np.float64) / np.linalg.norm(values)


TEXT = "a long text that takes more than one step of sixteen rows"
IDS = list(TEXT.encode())


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("last", [IDS[-1], len(IDS) - 1, 1, -1]), ("mean", [np.mean(IDS), (len(IDS) - 1) / 2, 1, -1])],
)
def test_pooling_over_all_steps_of_a_prompt(app, pooling, expected):
    for _ in range(2):  # the second time the prefix is known
        body = embed(app, input=TEXT, pooling=pooling)
        np.testing.assert_allclose(body["data"][0]["embedding"], unit(expected), rtol=1e-6)
    plain = embed(app, input=IDS, pooling=pooling, normalize=False)
    np.testing.assert_allclose(plain["data"][0]["embedding"], expected, rtol=1e-6)
    assert body["usage"] == plain["usage"] == {"prompt_tokens": len(IDS), "total_tokens": len(IDS)}


def test_base64_is_the_same_numbers(app):
    numbers, text = (
        embed(app, input="hello", encoding_format=form)["data"][0]["embedding"] for form in ("float", "base64")
    )
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), np.array(numbers, np.float32))


def test_dimensions_shorten_and_normalize_again(app):
    whole, short = (np.array(embed(app, input="hello", dimensions=n)["data"][0]["embedding"]) for n in (4, 2))
    np.testing.assert_allclose(short, unit(whole[:2]), rtol=1e-6)
    assert embed(app, 400, input="hello", dimensions=5)["param"] == "dimensions"


def test_inputs_as_llama_server_takes_them(app):
    whole = embed(app, input="hello")
    part = {"content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]}
    for same in (part, {"prompt_string": "hello"}, [*b"hel", "lo"], [[*b"he", "llo"]], [["hel", *b"lo"]]):
        assert embed(app, input=same)["data"] == whole["data"], same
    several = embed(app, input=["hello", list(b"hello"), part, {"prompt_string": "hello"}, [*b"h", "ello"]])["data"]
    assert [one["embedding"] for one in several] == [whole["data"][0]["embedding"]] * 5


def test_more_inputs_than_slots_and_queue():
    with app_of(FakeModel(slots=2, context=64), queue=1) as (app, _):
        texts = [f"text {i}" for i in range(9)]
        body = embed(app, input=texts)
    assert [d["index"] for d in body["data"]] == list(range(9))
    for text, found in zip(texts, body["data"]):
        np.testing.assert_allclose(found["embedding"], unit([ord(text[-1]), len(text) - 1, 1, -1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, ""]}, "input"),
        ({"input": {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}}, "input.content.0"),
        ({"input": {"content": [{"type": "unknown"}]}}, "input"),
        ({"input": {"content": "x"}}, "input.content"),
        ({"input": [999999]}, "input"),
        ({"input": "x" * 600}, "input"),
        ({"input": "x", "pooling": "cls"}, "pooling"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_bad_requests_are_a_400(app, body, param):
    assert embed(app, 400, **body)["param"].startswith(param)


def test_a_plan_without_hidden_states_says_so():
    model = FakeModel()
    model.plan.taps.clear()
    with app_of(model) as (app, _):
        assert "--tap last_hidden" in embed(app, 400, input="x")["message"]


def test_the_checkpoint_says_how_to_pool(tmp_path):
    assert pooling_of_gguf({"general.architecture": "qwen3", "qwen3.pooling_type": 3}) == "last"
    assert pooling_of_gguf({"general.architecture": "llama"}) is None and pooling_of_folder(tmp_path) is None
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text(
        '{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}'
    )
    assert pooling_of_folder(tmp_path) == "mean"


def test_smollm2_through_the_sdk_beside_a_chat(smollm2, smollm2_url, smollm2_gguf):
    texts = ["A cat sleeps on the sofa.", "The kitten naps on the couch.", "Interest rates rose by a quarter percent."]
    ids = [smollm2.tokenizer.encode(t) for t in texts]

    async def main():
        async with openai.AsyncOpenAI(
            base_url=f"{smollm2_url}/v1", api_key="none", max_retries=0, timeout=60
        ) as client:
            chat = client.completions.create(model="smollm2", prompt="Once upon a time", max_tokens=30, temperature=0)
            last = client.embeddings.create(model="smollm2", input=texts)
            mean = client.embeddings.create(
                model="smollm2", input=ids, encoding_format="float", extra_body={"pooling": "mean"}
            )
            return await asyncio.gather(chat, last, mean)

    _, last, mean = asyncio.run(main())
    model = load(compile_model(str(smollm2_gguf), ["host"], CompileOptions(ctx=64, taps=("last_hidden",))), "host", 2)
    for i, tokens in enumerate(ids):
        model.forward(Step.single(tokens))
        rows = model.tap("last_hidden", 0, len(tokens)).astype(np.float64)
        np.testing.assert_allclose(last.data[i].embedding, unit(rows[-1]), atol=1e-6)
        np.testing.assert_allclose(mean.data[i].embedding, unit(rows.mean(0)), atol=1e-6)
    similar, other = (np.dot(mean.data[0].embedding, mean.data[i].embedding) for i in (1, 2))
    assert similar > other


def test_many_texts_leave_room_for_others():
    """2,048 of them take minutes on a real model: others are answered in between, at any time."""

    async def main(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            texts = {"model": "fake", "input": [f"text {i}" for i in range(2048)]}
            embedding = asyncio.ensure_future(client.post("/v1/embeddings", json=texts))
            while not app.state.models.loaded[0].engine.model.steps:
                await asyncio.sleep(0.01)
            waited = []
            for _ in range(4):
                before = len(app.state.models.loaded[0].engine.model.steps)
                answer = await client.post(
                    "/v1/completions", json={"model": "fake", "prompt": "hello", "max_tokens": 4}
                )
                assert answer.json()["choices"][0]["text"] == expected(b"hello", 4) and not embedding.done()
                waited.append(len(app.state.models.loaded[0].engine.model.steps) - before)
            return waited, await embedding

    with app_of(FakeModel(context=512)) as (app, _):
        waited, answer = asyncio.run(main(app))
    assert answer.status_code == 200 and len(answer.json()["data"]) == 2048
    assert max(waited) < 60, "of more than 700 steps"

"""The official OpenAI SDK against SmolLM2 on loopback."""

import json
import re
from typing import Literal

import openai
import pydantic
import pytest

from hfc.runtime.chat import chat_template
from hfc.runtime.generate import Generation, Request
from hfc.runtime.sampler import Sampling

QUESTION = [{"role": "user", "content": "What is gravity? Answer in one sentence."}]


@pytest.fixture(scope="module")
def client(smollm2_url):
    with openai.OpenAI(base_url=f"{smollm2_url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def plain_answer(served, messages, count):
    """The text loop on the same model; slot 0 is free while nobody asks."""
    text = chat_template(served.vocabulary.template, served.tokenizer).render(messages)
    prompt = tuple(served.tokenizer.encode(text, parse_special=True, frame=False))
    return "".join(Generation(served.engine.model, served.tokenizer, Request(prompt, Sampling(temperature=0), count)))


def test_chat_is_what_the_text_loop_says(client, smollm2):
    answer = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0, max_completion_tokens=24)
    (choice,) = answer.choices
    usage = answer.usage
    assert (
        choice.finish_reason == "length"
        and usage.completion_tokens == 24
        and usage.total_tokens == usage.prompt_tokens + 24
    )
    streamed = client.chat.completions.create(
        model="smollm2",
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, last = "", None
    for chunk in streamed:
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        last = chunk
    assert text == choice.message.content and last.choices == [] and last.usage.completion_tokens == 24
    assert last.usage.prompt_tokens_details.cached_tokens == last.usage.prompt_tokens - 1, "the same prompt again"
    assert text == plain_answer(smollm2, QUESTION, 24)


def test_the_streaming_helper_assembles_a_completion(client):
    with client.chat.completions.stream(model="smollm2", messages=QUESTION, temperature=0, stop=",") as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in events and "content.done" in events
    assert final.choices[0].message.content and final.choices[0].finish_reason == "stop"


def test_equal_seeds_give_equal_text_whatever_else_runs(client):
    ask = lambda seed: client.chat.completions.create(  # noqa: E731
        model="smollm2", messages=QUESTION, temperature=1.2, top_p=1.0, seed=seed, n=2, max_completion_tokens=12
    )
    first, again, other = ask(5), ask(5), ask(77)
    texts = [[c.message.content for c in answer.choices] for answer in (first, again, other)]
    assert texts[0] == texts[1] != texts[2] and texts[0][0] != texts[0][1]
    assert first.usage.completion_tokens == 24


def test_stop_texts_end_the_answer(client):
    whole = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0, max_completion_tokens=24)
    text = whole.choices[0].message.content
    cut = text.split()[4]
    answer = client.chat.completions.create(
        model="smollm2", messages=QUESTION, temperature=0, max_completion_tokens=24, stop=[cut]
    )
    assert answer.choices[0].message.content == text[: text.index(cut)] and answer.choices[0].finish_reason == "stop"


def test_logprobs_and_bias(client, smollm2):
    answer = client.chat.completions.create(
        model="smollm2", messages=QUESTION, temperature=0, max_completion_tokens=5, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == 5 and "".join(c.token for c in content) == answer.choices[0].message.content
    for entry in content:
        assert entry.top_logprobs[0].token == entry.token and entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert bytes(entry.bytes).decode() == entry.token
    (banned,) = smollm2.tokenizer.encode(content[0].token)
    (wanted,) = smollm2.tokenizer.encode(" yes")
    other = client.chat.completions.create(
        model="smollm2",
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=3,
        logit_bias={str(wanted): 100, str(banned): -100},
    )
    assert other.choices[0].message.content == " yes yes yes"


def test_completions_from_texts_and_tokens(client, smollm2):
    ids = smollm2.tokenizer.encode("The capital of France is")
    one = client.completions.create(model="smollm2", prompt="The capital of France is", temperature=0, max_tokens=4)
    many = client.completions.create(model="smollm2", prompt=[ids, ids], temperature=0, max_tokens=4, n=2)
    assert one.choices[0].text.startswith(" Paris") and [c.index for c in many.choices] == [0, 1, 2, 3]
    assert {c.text for c in many.choices} == {one.choices[0].text}
    streamed = client.completions.create(model="smollm2", prompt=ids, temperature=0, max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == one.choices[0].text


def test_echo_scores_a_text(client, smollm2):
    text = "The capital of France is Paris"
    answer = client.completions.create(model="smollm2", prompt=text, max_tokens=0, echo=True, logprobs=2)
    scored = answer.choices[0].logprobs
    assert answer.choices[0].text == text and "".join(scored.tokens) == text
    assert scored.token_logprobs[0] is None and len(scored.token_logprobs) == len(smollm2.tokenizer.encode(text))
    assert scored.token_logprobs[-1] > -1 and scored.text_offset[-1] == text.index(" Paris")
    wrong = client.completions.create(
        model="smollm2", prompt="The capital of France is Banana", max_tokens=0, echo=True, logprobs=0
    )
    assert wrong.choices[0].logprobs.token_logprobs[-1] < scored.token_logprobs[-1] - 3


def test_models(client):
    assert [m.id for m in client.models.list()] == ["smollm2"]
    assert client.models.retrieve("smollm2").owned_by == "hfc"
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.models.retrieve("gpt-5")


def test_errors_are_the_sdk_s_own(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="smollm2", messages=QUESTION, extra_body={"mirostat": 2})
    assert refused.value.code == "unsupported_parameter" and refused.value.param == "mirostat"
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="smollm2", prompt="word " * 2000)
    assert refused.value.code == "context_length_exceeded" and "1024" in str(refused.value)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-5", messages=QUESTION)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
ASK = [{"role": "user", "content": "What is the weather in Paris for 3 days?"}]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_tool_call_has_valid_arguments(client, choice):
    answer = client.chat.completions.create(
        model="smollm2",
        messages=ASK,
        tools=[WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        temperature=0,
        max_completion_tokens=120,
    )
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert call.function.name == "get_weather" and set(arguments) == {"city", "days"} and 1 <= arguments["days"] <= 9


def test_tool_arguments_stream_and_the_result_goes_back(client):
    stream = client.chat.completions.create(
        model="smollm2", messages=ASK, tools=[WEATHER, CLOCK], tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0, max_completion_tokens=120, stream=True,
    )  # fmt: skip
    pieces, call_id, name, finish = [], "", "", None
    for chunk in stream:
        (choice,) = chunk.choices
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or ():
            call_id, name = call.id or call_id, call.function.name or name
            pieces.append(call.function.arguments)
    assert name == "get_weather" and finish == "tool_calls" and len(pieces) > 4
    arguments = "".join(pieces)
    assert set(json.loads(arguments)) == {"city", "days"}
    history = [
        *ASK,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": "sunny"},
    ]
    answer = client.chat.completions.create(
        model="smollm2", messages=history, tools=[WEATHER], tool_choice="none", max_completion_tokens=5
    )
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_strict_tools_leave_the_model_free_to_answer(client):
    strict = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
    ask = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Say hello."}],
        "temperature": 0,
        "max_completion_tokens": 12,
    }
    free = client.chat.completions.create(**ask, tools=[WEATHER]).choices[0].message
    held = client.chat.completions.create(**ask, tools=[strict]).choices[0].message
    assert held.content == free.content and not held.tool_calls, "the prompt is the same, and no call is forced"


def test_calls_without_results_are_a_400(client):
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="smollm2", messages=[*ASK, {"role": "assistant", "tool_calls": [call]}])
    assert refused.value.param == "messages" and refused.value.code == "missing_tool_result"


@pytest.mark.parametrize("arguments", ["{", '{"city": "Ul', "[]"])
def test_a_call_that_max_tokens_has_cut_may_stay_in_the_history(client, arguments):
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    answer = {"role": "tool", "tool_call_id": "a", "content": "these are no arguments"}
    history = [*ASK, {"role": "assistant", "tool_calls": [call]}, answer]
    assert client.chat.completions.create(model="smollm2", messages=history, max_tokens=2).choices


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    population: int
    sizes: list[Literal["small", "large"]] = pydantic.Field(max_length=2)


def test_parse_gives_an_object_of_the_schema(client):
    answer = client.chat.completions.parse(
        model="smollm2",
        messages=[{"role": "user", "content": "Describe Paris."}],
        response_format=City,
        temperature=0,
        max_completion_tokens=150,
    )
    assert isinstance(answer.choices[0].message.parsed, City) and answer.choices[0].finish_reason == "stop"


def test_other_formats(client):
    def ask(format, **more):
        return client.chat.completions.create(
            model="smollm2", messages=ASK, max_completion_tokens=60, temperature=1, seed=3, extra_body={"response_format": format}, **more
        ).choices[0].message.content  # fmt: skip

    assert re.fullmatch(r"[0-9]{3}-[a-f]{2}", ask({"type": "regex", "pattern": "[0-9]{3}-[a-f]{2}"}))
    assert ask({"type": "lark", "grammar": 'start: ("yes" | "no") "!"'}) in ("yes!", "no!")
    assert ask({"type": "json_object"}).lstrip().startswith("{")
    for bad in ({"type": "regex", "pattern": "["}, {"type": "lark", "grammar": "begin: x"}):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(bad)
        assert refused.value.code == "invalid_grammar"
    with pytest.raises(openai.BadRequestError) as refused:
        ask({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wizard"}, "strict": True}})
    assert refused.value.code == "unsupported_schema"

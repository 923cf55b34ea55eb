"""`/v1/responses` with the official OpenAI SDK against SmolLM2."""

import json

import openai
import pydantic
import pytest

from hfc.serve.response_input import ResponsesRequest

TOOL = {
    "type": "function", "name": "get_weather", "strict": True,
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": False,
    },
}  # fmt: skip

THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "hm"}],
    "encrypted_content": None,
}
ASKED = {"type": "message", "role": "user", "content": "Weather in Ulm?"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "sunny"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is sunny."}]}


@pytest.mark.parametrize(
    ("items", "thoughts"),
    [
        ([ASKED, THOUGHT, CALL, RESULT], ["hm"]),  # Codex's second request
        (
            [
                ASKED,
                THOUGHT,
                CALL,
                RESULT,
                {**THOUGHT, "content": [{"type": "reasoning_text", "text": "so"}]},
                SAID,
                ASKED,
            ],
            ["hm", "so"],
        ),
        ([ASKED, THOUGHT, SAID, THOUGHT, CALL, RESULT], ["hmhm"]),
        ([ASKED, {**THOUGHT, "content": None, "encrypted_content": "gAAA"}, CALL, RESULT], [None]),
        ([ASKED, {**THOUGHT, "content": [{"type": "new", "text": "x"}]}, CALL, RESULT], [None]),
        ([ASKED, THOUGHT, ASKED, SAID, ASKED], [None]),
    ],
)
def test_a_thought_goes_with_the_assistant_s_next_message(items, thoughts):
    """Templates show it while the same task goes on, and what the cache holds of an answer begins with it."""
    messages = ResponsesRequest.model_validate({"input": items}).ask().messages
    assert [m.get("reasoning_content") for m in messages if m["role"] == "assistant"] == thoughts


@pytest.fixture(scope="module")
def client(smollm2_url):
    with openai.OpenAI(base_url=f"{smollm2_url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_response_and_its_stream_are_equal(client):
    ask = {
        "model": "smollm2",
        "input": "What is gravity?",
        "instructions": "Be brief.",
        "temperature": 0,
        "max_output_tokens": 20,
    }
    response = client.responses.create(**ask)
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert (
        response.usage.output_tokens == 20
        and response.output[0].content[0].type == "output_text"
        and response.output_text
    )
    with client.responses.stream(**ask) as stream:
        events = list(stream)
    final = events[-1].response
    assert [e.sequence_number for e in events] == list(range(len(events))) and events[0].type == "response.created"
    assert events[-1].type == "response.incomplete" and final.output_text == response.output_text
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == response.output_text
    assert final.usage.input_tokens_details.cached_tokens > 0


def test_function_calls_round_trip(client):
    ask = {"model": "smollm2", "tools": [TOOL], "temperature": 0}
    question = [{"role": "user", "content": "Weather in Ulm?"}]
    with client.responses.stream(**ask, input=question, tool_choice="required", parallel_tool_calls=False) as stream:
        response = stream.get_final_response()
    (call,) = response.output
    assert (
        call.type == "function_call" and set(json.loads(call.arguments)) == {"city"} and response.status == "completed"
    )
    given = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    assert client.responses.create(**ask, input=[*question, given, result], max_output_tokens=4).output
    for bad in ([*question, given], [*question, result]):
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**ask, input=bad)


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=12)
    is_large: bool


def test_parse(client):
    response = client.responses.parse(model="smollm2", input="Describe Ulm.", text_format=City, temperature=0)
    assert isinstance(response.output_parsed, City)


def test_log_probabilities_of_the_text_s_tokens(client):
    """Asked for by `top_logprobs` or `include`: whole, in the pieces of a stream and at the end of them."""
    ask = {"model": "smollm2", "input": "What is gravity?", "temperature": 0, "max_output_tokens": 6}
    plain = client.responses.create(**ask).output[0].content[0]
    assert plain.logprobs == []
    part = client.responses.create(**ask, top_logprobs=2).output[0].content[0]
    assert part.text == plain.text == "".join(entry.token for entry in part.logprobs)
    assert all(
        len(e.top_logprobs) == 2 and e.top_logprobs[0].token == e.token and e.logprob <= 0 for e in part.logprobs
    )
    with client.responses.stream(**ask, include=["message.output_text.logprobs"]) as stream:
        events = list(stream)
    pieces = [entry for event in events if event.type == "response.output_text.delta" for entry in event.logprobs]
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    assert [p.token for p in pieces] == [e.token for e in done.logprobs] == [e.token for e in part.logprobs]
    assert [e.token for e in events[-1].response.output[0].content[0].logprobs] == [p.token for p in pieces]


def test_what_needs_a_memory_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="smollm2", input="x", previous_response_id="resp_1")

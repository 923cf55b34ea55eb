"""The official Anthropic SDK against SmolLM2 on loopback."""

import anthropic
import pytest
from serve_fakes import Says
from serve_loopback import listening
from test_serve_api import app_of

from hfc.serve.api.models import page_of
from hfc.serve.models import ModelEntry

QUESTION = [{"role": "user", "content": "What is gravity?"}]
TOOL = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def client(smollm2_url):
    with anthropic.Anthropic(base_url=smollm2_url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_message_and_its_stream_are_equal(client):
    ask = {
        "model": "smollm2",
        "max_tokens": 12,
        "system": "Be brief.",
        "messages": QUESTION,
        "extra_body": {"temperature": 0},
    }
    message = client.messages.create(**ask)
    (block,) = message.content
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 12 and block.type == "text"
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == block.text == final.content[0].text and final.stop_reason == "max_tokens"
    assert final.usage.cache_read_input_tokens > 0
    counted = client.messages.count_tokens(model="smollm2", system="Be brief.", messages=QUESTION).input_tokens
    assert counted == message.usage.input_tokens + message.usage.cache_read_input_tokens


def test_stop_sequences_are_named(client):
    message = client.messages.create(
        model="smollm2", max_tokens=40, messages=QUESTION, extra_body={"temperature": 0}, stop_sequences=["zzz", " is"]
    )
    assert (
        message.stop_reason == "stop_sequence"
        and message.stop_sequence == " is"
        and " is" not in message.content[0].text
    )


def test_tools_round_trip(client):
    ask = {"model": "smollm2", "max_tokens": 80, "tools": [TOOL], "extra_body": {"temperature": 0}}
    choice = {"type": "tool", "name": "get_weather"}
    with client.messages.stream(**ask, messages=QUESTION, tool_choice=choice) as stream:
        message = stream.get_final_message()
    (use,) = [b for b in message.content if b.type == "tool_use"]
    assert message.stop_reason == "tool_use" and set(use.input) == {"city"}
    plain = client.messages.create(**ask, messages=QUESTION, tool_choice=choice)
    assert plain.content[0].input == use.input
    history = [
        *QUESTION,
        {"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]},
    ]
    assert client.messages.create(**{**ask, "max_tokens": 4}, messages=history).content
    with pytest.raises(anthropic.BadRequestError, match="no tool_result"):
        client.messages.create(**ask, messages=history[:2])
    with pytest.raises(anthropic.BadRequestError, match="no call"):
        client.messages.create(**ask, messages=[history[2]])


def test_errors_have_anthropic_s_form(client):
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.create(model="claude", max_tokens=1, messages=QUESTION)
    assert refused.value.body["type"] == "error" and refused.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="text only"):
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
        client.messages.create(model="smollm2", max_tokens=1, messages=[{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.BadRequestError, match="text only"):
        call = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
        turns = [*QUESTION, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        client.messages.create(model="smollm2", max_tokens=1, messages=turns)


def test_models_have_anthropic_s_form(client, smollm2):
    (listed,) = client.models.list(limit=1)
    assert listed == client.models.retrieve("smollm2")
    assert (listed.id, listed.display_name, listed.type, listed.lifecycle) == ("smollm2", "smollm2", "model", "active")
    assert listed.created_at.timestamp() == smollm2.created and listed.max_input_tokens == 1024
    assert not list(client.models.list(after_id="smollm2")) and not list(client.models.list(before_id="smollm2"))
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.models.retrieve("nope")
    assert refused.value.body["type"] == "error" and refused.value.body["error"]["type"] == "not_found_error"


def test_pages_of_models():
    entries = [ModelEntry(name, None, created=0) for name in "abcde"]

    def ids(*page):
        told = page_of(entries, *page)
        return "".join(card["id"] for card in told["data"]), told["has_more"]

    assert (
        ids(2, None, None) == ("ab", True) and ids(2, "b", None) == ("cd", True) and ids(2, "d", None) == ("e", False)
    )
    assert ids(2, None, "d") == ("bc", True) and ids(5, None, "c") == ("ab", False)


CALL = '<tool_call>\n{"name": "f", "arguments": {"a": [1, "\\u00e9"]}}\n</tool_call>'
THINKS = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    "{# <think> <tool_call> tools #}"
)


def test_blocks_stand_in_the_order_in_which_they_were_written():
    """A thought, words, a call, words, a call: streamed or not."""
    ask = {
        "model": "fake", "max_tokens": 300, "messages": QUESTION, "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }  # fmt: skip
    with app_of(Says(f"<think>hm</think>one {CALL}two{CALL}", context=1024), template=THINKS) as (app, _):
        with listening(app) as url, anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
            answer = client.messages.create(**ask)
            with client.messages.stream(**ask) as stream:
                streamed = stream.get_final_message()
    wanted = [
        ("thinking", "hm"),
        ("text", "one "),
        ("tool_use", {"a": [1, "é"]}),
        ("text", "two"),
        ("tool_use", {"a": [1, "é"]}),
    ]
    for message in (answer, streamed):
        found = [(b.type, getattr(b, {"tool_use": "input"}.get(b.type, b.type))) for b in message.content]
        assert [(kind, value.strip() if kind == "text" else value) for kind, value in found] == [
            (kind, value.strip() if kind == "text" else value) for kind, value in wanted
        ]
        assert message.stop_reason == "tool_use"


def test_a_streamed_thought_is_signed():
    """Vercel's client sends back only thoughts that came with a signature; none of ours says anything."""
    with app_of(Says("<think>hm</think>one", context=1024), template=THINKS) as (app, _), listening(app) as url:
        with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            with client.messages.stream(model="fake", max_tokens=200, messages=QUESTION) as stream:
                kinds = [
                    event.delta.type if event.type == "content_block_delta" else event.type
                    for event in stream
                    if event.type.startswith("content_block")
                ]
                thought, text = stream.get_final_message().content
    first = kinds.index("content_block_stop")
    assert kinds[first - 2 : first + 1] == ["thinking_delta", "signature_delta", "content_block_stop"]
    assert kinds.count("signature_delta") == 1 and thought.signature == "" and text.text == "one"

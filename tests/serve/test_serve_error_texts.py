"""What clients are told: errors inside a stream in the dialect's own event, fields as the client wrote them."""

import json

import pytest
from serve_fakes import FakeModel
from test_serve_api import app_of, call


class LostInTheMiddle(FakeModel):
    """Its third step fails."""

    begun = 0

    def forward(self, step):
        self.begun += 1
        if self.begun > 2:
            raise RuntimeError("the card fell off")
        return super().forward(step)


def events_of(text: str) -> list[dict]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def test_an_error_inside_a_stream_of_responses_has_the_types_that_clients_look_for():
    """The Vercel SDK validates `type`, OpenAI's clients look at `error`, Codex at `response.failed`."""
    with app_of(LostInTheMiddle()) as (app, _):
        body = {"model": "fake", "input": "Hello", "stream": True, "max_output_tokens": 50}
        events = events_of(call(app, "POST", "/v1/responses", json=body).text)
    assert all("type" in event for event in events) and events[0]["type"] == "response.created"
    error, failed = events[-2:]
    assert error["type"] == "error" and error["message"] and {"code", "param"} <= error.keys()
    assert failed["type"] == "response.failed" and failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["message"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


WRONG = [  # path, body, the field as the client wrote it
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}]}, "messages.0"),
    ("/v1/chat/completions", {"messages": [{"role": "wizard", "content": "x"}]}, "messages.0"),
    ("/v1/chat/completions", {"messages": "x"}, "messages"),
    ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0"),
    ("/v1/messages", {"max_tokens": "many", "messages": [{"role": "user", "content": "x"}]}, "max_tokens"),
    ("/v1/responses", {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text"}]}]}, "input"),
    ("/v1/responses", {"input": 7}, "input"),
    ("/api/chat", {"messages": [{"role": "user", "content": 5}]}, "messages"),
]  # fmt: skip
INTERNAL = ("union", "tagged", "function-", "list[", "literal[", "constrained", "json or python", "is-instance")


@pytest.mark.parametrize("path, body, field", WRONG, ids=[f"{p} {f} {n}" for n, (p, _, f) in enumerate(WRONG)])
def test_no_name_of_the_programs_own_types_is_in_an_error(path, body, field):
    with app_of(FakeModel()) as (app, _):
        response = call(app, "POST", path, json={"model": "fake", **body})
    told = response.text
    assert response.status_code == 400 and field in told, told
    assert not any(word in told.lower() for word in INTERNAL), told


SAID = [  # path, body, what is said
    ("/v1/completions", {"prompt": "x", "stop": ["a"] * 17}, "stop should have at most 16 items, not 17"),
    ("/v1/completions", {"prompt": []}, "prompt should not be empty"),
    ("/v1/embeddings", {"input": [""]}, "input.0 should not be empty"),
    ("/v1/messages", {"max_tokens": 5, "messages": []}, "messages should not be empty"),
    ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "tools": [{"name": "a b", "input_schema": {}}]},
     "tools.0.name should match pattern '^[a-zA-Z0-9_.:/-]+$'"),
    ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
     "messages.0: tool_use_id 'x' is no call of the turn before"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": -2}, "max_tokens should be greater than or equal to -1"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stop": 5}, "stop should be a valid string, or a valid list"),
    ("/api/chat", {"messages": [{"role": "user", "content": "x"}], "think": "x"}, "think should be a valid boolean, or 'low', 'medium', 'high' or 'max'"),
    ("/api/generate", {"prompt": "x", "suffix": "y"}, "suffix: fake has no tokens to fill in the middle"),
    ("/api/chat", {"messages": [{"role": "user", "content": "word " * 300}], "truncate": False},
     "the input length exceeds the context length (1516 tokens > 512)"),
    ("/detokenize", {"tokens": [65, 99999]}, "token 99999 is not in the vocabulary of 260 tokens"),
]  # fmt: skip


def test_errors_say_what_is_wrong_in_the_words_of_the_dialect():
    """The field's name stands in the text where the dialect has no other place for it."""
    with app_of(FakeModel(context=512)) as (app, _):
        for path, body, said in SAID:
            response = call(app, "POST", path, json={"model": "fake", **body})
            error = response.json()["error"]
            assert response.status_code == 400 and (error if isinstance(error, str) else error["message"]) == said

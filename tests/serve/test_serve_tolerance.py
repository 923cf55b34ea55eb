"""What would change the answer is honoured or refused by name; all else is accepted, ignored and logged once."""

import logging

import pytest
from serve_fakes import FakeModel
from test_serve_api import app_of, call

from hfc.serve.anthropic import MessagesRequest
from hfc.serve.api.chat_completions import ChatRequest

USER = {"role": "user", "content": "x"}
PATHS = {
    "/v1/chat/completions": {"messages": [USER], "max_tokens": 2},
    "/v1/completions": {"prompt": "x", "max_tokens": 2},
    "/v1/responses": {"input": "x", "max_output_tokens": 2},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2},
    "/v1/embeddings": {"input": "x"},
}


@pytest.fixture(scope="module")
def app():
    with app_of(FakeModel(context=2048)) as (app, _):
        yield app


def post(app, path, **fields):
    return call(app, "POST", path, json={"model": "fake", **PATHS.get(path, {"prompt": "x"}), **fields})


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_field_is_ignored_and_logged_once(app, path, caplog):
    caplog.set_level(logging.WARNING, "hfc.serve")
    for _ in range(2):
        assert post(app, path, **{f"colour_of_{path}": "red"}).status_code == 200
    assert [r.message for r in caplog.records if "colour_of" in r.message] == [
        f"{path}: 'colour_of_{path}' of a request has no effect here and is ignored"
    ]


@pytest.mark.parametrize("path", PATHS)
def test_what_clients_always_send_is_not_logged(app, path, caplog):
    caplog.set_level(logging.WARNING, "hfc.serve")
    assert post(app, path, user="u", metadata={"a": 1}, service_tier="flex", safety_identifier="s").status_code == 200
    assert not caplog.records


def test_what_is_honoured_is_not_said_to_be_ignored(app, caplog):
    """Of the objects that a choice may be, those that it is not are silent."""
    caplog.set_level(logging.WARNING, "hfc.serve")
    schema, named = {"type": "object", "properties": {}}, {"name": "f"}
    function = {"type": "function", "function": {**named, "parameters": schema}}
    only = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": named}]},
    }
    for choice in ({"type": "function", "function": named}, only):
        assert post(app, "/v1/chat/completions", tools=[function], tool_choice=choice).status_code == 200
    flat = {"type": "function", **named}
    for choice in (flat, {"type": "allowed_tools", "mode": "auto", "tools": [flat]}):
        tools = [{**flat, "parameters": schema}]
        assert post(app, "/v1/responses", tools=tools, tool_choice=choice).status_code == 200
    assert not caplog.records, [record.message for record in caplog.records]


def test_calls_of_other_kinds_in_a_history_are_read_or_refused(app, caplog):
    """Left out, the model would not know what its tools gave."""
    caplog.set_level(logging.WARNING, "hfc.serve")

    def ask(*items):
        body = {"model": "fake", "input": [{"role": "user", "content": "x"}, *items], "max_output_tokens": 8}
        return call(app, "POST", "/v1/responses", json=body)

    def text(answer):
        return answer.json()["output"][0]["content"][0]["text"]

    custom = ask(
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    )
    function = ask(
        {"type": "function_call", "call_id": "c", "name": "patch", "arguments": '{"input": "*** Begin"}'},
        {"type": "function_call_output", "call_id": "c", "output": "done"},
    )
    assert text(custom) == text(function) != text(ask()) and not caplog.records
    refused = ask({"type": "local_shell_call_output", "id": "c", "output": "done"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "input.1"
    streamed = post(app, "/v1/chat/completions", stream=True, stream_options={"include_obfuscation": False})
    assert streamed.status_code == 200 and not caplog.records


@pytest.mark.parametrize("path", list(PATHS)[:4])
def test_samplers_of_other_servers_are_refused_unless_they_ask_for_nothing(app, path):
    for name, neutral in (("mirostat", 0), ("xtc_probability", 0.0), ("typical_p", 1), ("top_n_sigma", -1)):
        assert post(app, path, **{name: neutral}).status_code == 200
        refused = post(app, path, **{name: 0.5})
        assert refused.status_code == 400 and f"{name}: hfc has no such sampler" in refused.json()["error"]["message"]


NULLS = {
    "/v1/responses": ("previous_response_id", "conversation", "prompt", "background", "instructions", "tools"),
    "/v1/messages": ("container", "mcp_servers", "system", "tools", "thinking"),
    "/v1/chat/completions": ("functions", "function_call", "audio", "web_search_options", "tools", "stop"),
}


@pytest.mark.parametrize("path", NULLS)
def test_null_is_as_good_as_absent(app, path):
    assert post(app, path, **dict.fromkeys(NULLS[path])).status_code == 200


SAME = {  # fields of real clients beside which the answer must stay as it is
    "/v1/chat/completions": [
        {"top_logprobs": 0, "logprobs": False},
        {"stream_options": {"include_usage": True}},
        {"prediction": {"type": "content", "content": "x"}, "verbosity": "low", "prompt_cache_retention": "24h"},
        {"store": True, "parallel_tool_calls": True, "modalities": ["text"], "max_completion_tokens": 2},
        {"tools": [{"type": "web_search"}, {"type": "custom", "custom": {"name": "x"}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "scope": "global"}}]}]},
    ],
    "/v1/responses": [
        {"stream_options": {"include_obfuscation": False}, "client_metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"]},
        {"tools": [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": []}], "top_logprobs": 0, "prompt_cache_key": "k"},
        {"input": [{"type": "message", "id": "m", "role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
        {"reasoning": {"summary": "auto", "generate_summary": None}, "text": {"verbosity": "medium"}, "context_management": [{"type": "compaction"}]},
    ],
    "/v1/messages": [
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "thread": None, "betas": ["b"]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [], "cache_control": {"type": "ephemeral", "scope": "global"}}]}]},
        {"output_config": {"effort": None}, "inference_geo": "eu", "speed": "fast", "thinking": {"type": "adaptive"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("path", "fields"), [(p, f) for p, some in SAME.items() for f in some])
def test_fields_without_effect_leave_the_answer_as_it_is(app, path, fields):
    def text(response):
        assert response.status_code == 200, response.text
        body = response.json()
        return body.get("choices") or [
            {k: v for k, v in part.items() if k != "id"} for part in body.get("output") or body["content"]
        ]

    assert text(post(app, path, **fields)) == text(post(app, path))


def test_histories_that_the_sdks_send_back(app):
    """What a client got from hfc or another server and keeps: more fields, empty lists, other names."""
    function = {"name": "f", "arguments": '{"a": 1}', "parsed_arguments": {"a": 1}}
    answer = {
        "role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None, "parsed": None, "reasoning": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm"}], "provider_specific_fields": {"x": 1}, "function_call": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }  # fmt: skip
    messages = [
        {"role": "user", "content": "x"},
        answer,
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "y"}], "is_error": False},
        {"role": "assistant", "content": "z", "tool_calls": []},
        {"role": "user", "content": "x"},
    ]
    assert post(app, "/v1/chat/completions", messages=messages).status_code == 200
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "zzz"},
        {"type": "text", "text": "y", "citations": None}, {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
    ]  # fmt: skip
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}], "is_error": False}
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": blocks},
        {"role": "system", "content": "a reminder"},
        {"role": "user", "content": [result, {"type": "text", "text": "and now?"}]},
    ]
    assert post(app, "/v1/messages", messages=turns).status_code == 200
    items = [
        {"role": "user", "content": "x"},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": None},
        {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
        {"role": "developer", "content": "a reminder"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
        {"type": "web_search_call", "id": "w", "status": "completed"},
    ]
    assert post(app, "/v1/responses", input=items).status_code == 200


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
TOOL = {"name": "f", "description": None, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
ODD = [
    ("/v1/chat/completions", {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": None}]}),
    ("/v1/chat/completions", {"messages": [USER, {"role": "assistant", "content": None, "reasoning_content": "hm"}, USER]}),
    ("/v1/chat/completions", {"reasoning_effort": "max"}),
    ("/v1/responses", {"reasoning": {"effort": "max", "summary": "auto"}}),
    ("/v1/completions", {"samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]}),
    ("/v1/completions", {"samplers": "edskypmxt"}),
    ("/v1/chat/completions", {"max_tokens": 2.0, "top_k": 40.0, "seed": 42.0, "n": 1.0}),  # of clients without integers
    ("/v1/responses", {"max_output_tokens": 2.0}),
    ("/v1/messages", {"max_tokens": 2.0, "top_k": 1e1}),
    ("/v1/completions", {"grammar": "", "suffix": "", "max_tokens": 2.0}),
    ("/v1/chat/completions", {"model": "", "reasoning_effort": "auto", "thinking": {"type": "enabled", "budget_tokens": -1}}),
    ("/v1/chat/completions", {"tools": [{"function": TOOL}], "tool_choice": {"type": "auto"}}),
    ("/v1/responses", {"tools": [{"type": "function", "function": TOOL}], "tool_choice": {"type": "none"}}),
    ("/v1/chat/completions", {"messages": [{"role": "system", "content": None}, USER, {"role": "assistant"}, {"role": "user", "content": None}, USER]}),
    ("/v1/responses", {"input": [USER, {"type": "function_call", "call_id": "", "name": "my tool", "arguments": {"a": 1}}, {"type": "function_call_output", "call_id": "", "output": None}]}),
    ("/v1/messages", {"messages": [USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "my tool", "input": ""}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields"), ODD)
def test_what_clients_send_though_no_document_says_so(app, path, fields):
    assert post(app, path, **fields).status_code == 200


@pytest.mark.parametrize(
    ("tool", "choice"),
    [
        ({"type": "function", "function": TOOL}, "any"),  # Mistral's
        ({"type": "function", **TOOL}, {"type": "function", "name": "f"}),  # of /v1/responses
        ({"name": "f", "input_schema": TOOL["parameters"]}, {"type": "tool", "name": "f"}),  # Anthropic's
        ({"function": TOOL}, {"type": "required"}),
    ],
)
def test_tools_of_other_dialects_in_chats(tool, choice):
    """Some editors send them so."""
    chat = ChatRequest.model_validate({"messages": [USER], "tools": [tool], "tool_choice": choice}).ask()
    (function,) = (one["function"] for one in chat.tools)
    assert function["name"] == "f" and function["parameters"] == TOOL["parameters"]
    assert chat.tool_choice == ("f" if isinstance(choice, dict) and "name" in choice else "required")


def test_calls_without_ids_are_answered_in_order():
    """Some servers give their calls none, or all the same, and clients keep what they were given."""
    calls = [{"id": "", "function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]
    results = [{"role": "tool", "tool_call_id": "", "content": text} for text in ("of f", "of g")]
    messages = [USER, {"role": "assistant", "tool_calls": calls}, {"role": "system", "content": "late"}, *results, USER]
    seen = ChatRequest.model_validate({"messages": messages}).ask().messages
    assert [(m["role"], m.get("name"), m["content"]) for m in seen[2:5]] == [
        ("tool", "f", "of f"), ("tool", "g", "of g"), ("system", None, "late"),
    ]  # fmt: skip


def test_neighbouring_turns_of_messages_are_one():
    """As Anthropic has it: results may come in two turns, and calls too."""
    use = lambda id: {"type": "tool_use", "id": id, "name": "f", "input": {}}  # noqa: E731
    result = lambda id: {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": id}]}  # noqa: E731
    said = {"role": "assistant", "content": [{"type": "text", "text": "and"}, use("b")]}
    turns = [USER, {"role": "assistant", "content": [use("a")]}, said, result("a"), USER, result("b")]
    seen = MessagesRequest.model_validate({"max_tokens": 1, "messages": turns}).ask().messages
    assert [m["role"] for m in seen] == ["user", "assistant", "tool", "tool", "user"]
    assert [c["id"] for c in seen[1]["tool_calls"]] == ["a", "b"] and seen[1]["content"] == "and"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_no_tokens_compute_the_prompt(path):
    """For the prefix cache: the next request finds it."""
    with app_of(FakeModel(context=512)) as (app, _):
        first = post(app, path, max_tokens=0, messages=[{"role": "user", "content": "word " * 30}]).json()
        again = post(app, path, max_tokens=1, messages=[{"role": "user", "content": "word " * 30}]).json()["usage"]
    said = first.get("content") or [first["choices"][0]["message"]]
    assert not (said[0].get("text") or said[0].get("content"))
    assert (again.get("cache_read_input_tokens") or again["prompt_tokens_details"]["cached_tokens"]) > 100


def test_a_schema_beside_the_type_of_its_format():
    """llama-server's form."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = {"messages": [USER], "response_format": {"type": "json_schema", "schema": schema}}
    assert ChatRequest.model_validate(asked).ask().format["schema"] == schema


REFUSED = [
    ("/v1/completions", {"samplers": ["temperature", "top_k"]}, "samplers"),
    ("/completion", {"t_max_predict_ms": 500}, "t_max_predict_ms"),
    ("/v1/responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("/v1/responses", {"input": [{"type": "item_reference", "id": "m"}]}, "input.0"),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0"),
    ("/v1/responses", {"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ("/v1/chat/completions", {"functions": [{"name": "f"}]}, "functions"),
    ("/v1/chat/completions", {"guided_json": {"type": "object"}}, "guided_json"),
    ("/v1/chat/completions", {"modalities": ["text", "audio"]}, "modalities"),
    ("/v1/messages", {"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0"),
    (
        "/v1/messages",
        {
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "base64", "data": "JVBE"}}]}
            ]
        },
        "messages.0.content.0.source.type",
    ),
]


@pytest.mark.parametrize(("path", "fields", "name"), REFUSED)
def test_what_would_change_the_answer_is_refused_by_name(app, path, fields, name):
    response = post(app, path, **fields)
    error = response.json()["error"]
    told = error if isinstance(error, str) else error.get("param") or error["message"]
    assert response.status_code == 400 and name in told


def test_a_prompt_that_is_too_long_is_said_in_the_dialect_s_own_words(app):
    long = "word " * 1000
    turns = [{"role": "user", "content": long}]
    chat = post(app, "/v1/chat/completions", messages=turns).json()["error"]
    assert chat["code"] == "context_length_exceeded" and chat["param"] == "messages"
    responses = post(app, "/v1/responses", input=long).json()["error"]
    assert responses["code"] == "context_length_exceeded" and responses["param"] == "input"
    assert post(app, "/v1/messages", messages=turns).json()["error"] == {
        "type": "invalid_request_error", "message": "prompt is too long: 5016 tokens > 2048 maximum",
    }  # fmt: skip


def test_a_thread_is_refused_as_anthropic_s_clients_expect_it(app):
    """They send the whole conversation then; ignored, they would send the newest message alone."""
    response = post(app, "/v1/messages", thread={"type": "create"})
    details = response.json()["error"]["details"]
    assert response.status_code == 400 and details["error_code"] == "thread_unsupported_request"

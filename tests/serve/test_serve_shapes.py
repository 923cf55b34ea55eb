"""Requests in the shape of real clients, as recorded on loopback in 2026; every text is our own. Each must be answered."""

import json

import pytest
from serve_fakes import Says
from test_serve_api import app_of, call

SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
          "properties": {"path": {"type": "string", "description": "where"}, "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991}},
          "required": ["path"]}  # fmt: skip
TEXT = {"type": "text", "text": "words", "cache_control": {"type": "ephemeral"}}
PLAIN = {"type": "object", "additionalProperties": False, "required": ["city"], "properties": {"city": {"title": "City", "type": "string", "description": "its name"}}}  # fmt: skip
RECORD = {
    "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": False, "required": ["scores"],
    "properties": {"scores": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}}},
}  # fmt: skip
CALL = {"id": "c", "type": "function", "function": {"name": "read", "arguments": '{"city":"a"}'}}
CHAT = "/v1/chat/completions"
FUNCTION = {"name": "read", "description": "d", "parameters": SCHEMA}

SHAPES = {
    "codex 0.171": ("/v1/responses", {
        "model": "fake", "stream": True, "store": False, "tool_choice": "auto", "parallel_tool_calls": True, "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "01a2", "client_metadata": {"session_id": "01a2", "turn_id": "01a3"},
        "input": [
            {"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "You are careful."}]},
            {"type": "message", "id": "msg_2", "role": "developer", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "message", "id": "msg_3", "role": "user", "content": [{"type": "input_text", "text": "<environment/>"}]},
            {"type": "message", "id": "msg_4", "role": "user", "content": [{"type": "input_text", "text": "write"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": None},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "exec_command", "arguments": '{"cmd":"ls"}', "status": "completed"},
            {"type": "function_call_output", "call_id": "c1", "output": "note.txt"},
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "description": "d", "strict": False, "parameters": SCHEMA},
            {"type": "namespace", "name": "agents", "description": "d", "tools": [{"type": "function", "name": "spawn", "parameters": SCHEMA}]},
            {"type": "web_search", "external_web_access": False},
        ],
    }),
    "Claude Code 2.1": ("/v1/messages?beta=true", {
        "model": "fake", "max_tokens": 32000, "stream": True, "metadata": {"user_id": "{}"}, "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "output_config": {"effort": "high"},
        "system": [{"type": "text", "text": "x-anthropic-billing-header: v=1"}, TEXT, TEXT],
        "tools": [{"name": "Read", "description": "d", "input_schema": SCHEMA}, {"name": "Bash", "description": "d", "input_schema": SCHEMA, "eager_input_streaming": True}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>r</system-reminder>"}, TEXT]},
            {"role": "system", "content": "Available agents: none"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "x"}, "caller": {"type": "direct"}}]},
            {"role": "user", "content": [{"tool_use_id": "toolu_1", "type": "tool_result", "content": "text", "is_error": False, "cache_control": {"type": "ephemeral"}}]},
        ],
    }),
    "anthropic-py 2.14, tool runner without its thread": ("/v1/messages?beta=true", {
        "model": "fake", "max_tokens": 64, "stream": False, "messages": [{"role": "user", "content": "x"}], "output_config": {"format": {"type": "json_schema", "schema": {"const": "a"}}},
        "tools": [{"name": "read", "description": "d", "input_schema": SCHEMA, "type": "custom"}],
    }),
    "openai-py 3.3, a second turn after parse": ("/v1/chat/completions", {
        "model": "fake", "verbosity": "low", "prediction": {"type": "content", "content": "x"}, "max_completion_tokens": 16,
        "tools": [{"type": "function", "function": {**FUNCTION, "strict": True, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}}}],
        "messages": [
            {"role": "user", "content": "x"},
            {"content": None, "refusal": None, "role": "assistant", "annotations": None, "audio": None, "function_call": None, "parsed": None,
             "tool_calls": [{"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}", "parsed_arguments": {}}}]},
            {"role": "tool", "tool_call_id": "c", "content": "y"},
        ],
    }),
    "Vercel ai 6, openai-compatible": ("/v1/chat/completions", {
        "model": "fake", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 16, "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "response", "strict": True, "schema": {
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": False, "required": ["scores"],
            "properties": {"scores": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}}}}}},
        "messages": [{"role": "user", "content": "x"}],
    }),
    "litellm 1.110 with a cached part": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 8, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": "y", "reasoning": "hm", "reasoning_details": [], "provider_specific_fields": {}, "tool_calls": []},
            {"role": "user", "content": "z"}],
    }),
    "ollama 0.6 with tools": ("/api/chat", {
        "model": "fake", "stream": False, "options": {"num_predict": 8, "num_ctx": 8192}, "keep_alive": None, "format": None, "think": None,
        "messages": [
            {"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "read", "arguments": {"path": "x"}}}]},
            {"role": "tool", "content": "y", "tool_name": "read"}],
        "tools": [{"type": "function", "function": FUNCTION}],
    }),
    "openai npm 7, a second turn of runTools": ("/v1/chat/completions", {
        "model": "fake", "stream": True, "tool_choice": "auto", "tools": [{"type": "function", "function": FUNCTION}], "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": None, "refusal": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}", "parsed_arguments": None}}]},
            {"role": "tool", "tool_call_id": "c", "content": "y"}],
    }),
    "anthropic npm 1, a second turn": ("/v1/messages", {
        "model": "fake", "max_tokens": 64, "stream": True, "tools": [{"name": "read", "description": "d", "input_schema": SCHEMA}], "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "read", "input": {"path": "x"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "y"}]}],
    }),
    "pydantic-ai 2.68 in chats": ("/v1/chat/completions", {
        "model": "fake", "stream": False, "tool_choice": "auto", "tools": [{"type": "function", "function": {"name": "read", "description": "d", "strict": True, "parameters": PLAIN}}],
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": "y"}],
    }),
    "pydantic-ai 2.68 in responses": ("/v1/responses", {
        "model": "fake", "stream": False, "tool_choice": "auto", "input": [{"role": "user", "content": "x"}],
        "tools": [{"name": "read", "parameters": PLAIN, "type": "function", "description": "d", "strict": True}],
    }),
    "openai-agents 0.24 in chats": ("/v1/chat/completions", {
        "model": "fake", "tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": {**PLAIN, "title": "read_args"}, "strict": True}}],
        "messages": [{"content": "Help.", "role": "system"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": "y"}],
    }),
    "openai-agents 0.24 in responses": ("/v1/responses", {
        "model": "fake", "include": [], "instructions": "Help.", "tools": [{"name": "read", "parameters": {**PLAIN, "title": "read_args"}, "strict": True, "type": "function", "description": "d"}],
        "input": [
            {"content": "x", "role": "user"},
            {"arguments": '{"city": "a"}', "call_id": "c", "name": "read", "type": "function_call", "id": "fc_1", "status": "completed"},
            {"call_id": "c", "output": "y", "type": "function_call_output"}],
    }),
    "smolagents 1.26": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 64, "tool_choice": "required", "stop": ["Observation:", "Calling tools:"], "tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": PLAIN}}],
        "messages": [{"role": "system", "content": [{"type": "text", "text": "Use tools."}]}, {"role": "user", "content": [{"type": "text", "text": "x"}]}],
    }),
    "instructor 1.17 with a schema": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 64, "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"name": "City", "schema": {**PLAIN, "title": "City"}}},
    }),
    "instructor 1.17 with JSON": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 64, "response_format": {"type": "json_object"}, "messages": [{"role": "system", "content": "As JSON."}, {"role": "user", "content": "x"}],
    }),
    "instructor 1.17 with tools": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 64, "messages": [{"role": "user", "content": "x"}], "tool_choice": {"type": "function", "function": {"name": "City"}},
        "tools": [{"type": "function", "function": {"name": "City", "description": "d", "parameters": PLAIN}}],
    }),
    "llama-index 0.1": ("/v1/chat/completions", {
        "model": "fake", "stream": True, "temperature": 0.1, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}],
    }),
    "llm 0.36": ("/v1/chat/completions", {
        "model": "fake", "stream": True, "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "x"}],
    }),
    "litellm 1.110 to Ollama": ("/api/chat", {
        "model": "fake", "stream": False, "options": {"num_predict": 9}, "messages": [{"role": "user", "content": "x", "images": []}],
    }),
    "opencode 1.18": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 4000, "stream": True, "stream_options": {"include_usage": True}, "tool_choice": "auto",
        "messages": [{"role": "system", "content": "Name it."}, {"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        "tools": [{"type": "function", "function": {"name": "bash", "description": "d", "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["command"], "properties": {
                "command": {"type": "string"}, "timeout": {"minimum": -9007199254740991, "exclusiveMinimum": 0, "type": "integer", "maximum": 9007199254740991}}}}}],
    }),
    "Vercel ai 6, openai in chats": ("/v1/chat/completions", {
        "model": "fake", "max_tokens": 300, "stream": True, "stream_options": {"include_usage": True}, "tool_choice": "auto",
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": "y"}],
        "tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": {**PLAIN, "$schema": "http://json-schema.org/draft-07/schema#"}}}],
    }),
    "Vercel ai 6, openai in responses": ("/v1/responses", {
        "model": "fake", "max_output_tokens": 300, "stream": True, "tool_choice": "auto", "tools": [{"type": "function", "name": "read", "description": "d", "parameters": PLAIN}],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "function_call", "call_id": "c", "name": "read", "arguments": '{"city":"a"}'}, {"type": "function_call_output", "call_id": "c", "output": "y"}],
    }),
    "Vercel ai 6, a record in responses": ("/v1/responses", {
        "model": "fake", "max_output_tokens": 300, "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "text": {"format": {"type": "json_schema", "strict": True, "name": "response", "schema": RECORD}},
    }),
    "Vercel ai 6, anthropic": ("/v1/messages", {
        "model": "fake", "max_tokens": 300, "stream": True, "tool_choice": {"type": "auto"},
        "tools": [{"name": "read", "description": "d", "input_schema": PLAIN, "eager_input_streaming": True}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]}, {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "read", "input": {"city": "a"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "y"}]}],
    }),
    "Vercel ai 6, a record of anthropic": ("/v1/messages", {
        "model": "fake", "max_tokens": 300, "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "tools": [{"name": "json", "description": "d", "input_schema": RECORD}], "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }),
    "aider 0.86": (CHAT, {
        "model": "fake", "stream": True, "temperature": 0, "messages": [
            {"role": "system", "content": "You edit files."}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "Ok."},
            {"role": "user", "content": "These files are in the chat."}, {"role": "assistant", "content": "Ok."}, {"role": "user", "content": "y"}],
    }),
    "langchain-openai 1.7": (CHAT, {
        "model": "fake", "max_completion_tokens": 120, "stream": False, "temperature": 0.0, "messages": [
            {"content": "x", "role": "user"}, {"content": None, "role": "assistant", "tool_calls": [CALL]}, {"content": "y", "role": "tool", "tool_call_id": "c"}],
        "tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": PLAIN}}],
    }),
    "langchain-openai 1.7, a tool that must be": (CHAT, {
        "model": "fake", "max_completion_tokens": 120, "parallel_tool_calls": False, "stream": False, "temperature": 0.0, "messages": [{"content": "x", "role": "user"}],
        "tool_choice": {"type": "function", "function": {"name": "City"}},
        "tools": [{"type": "function", "function": {"name": "City", "description": "", "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"], "type": "object"}}}],
    }),
    "langchain-openai 1.7, a format": (CHAT, {
        "model": "fake", "max_completion_tokens": 120, "stream": False, "temperature": 0.0, "messages": [{"content": "x", "role": "user"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {**PLAIN, "title": "City"}, "name": "City", "strict": True}},
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def app():
    with app_of(Says("Done.", context=8192)) as (app, _):
        yield app


@pytest.mark.parametrize("client", SHAPES)
def test_requests_of_real_clients_are_answered(app, client):
    path, body = SHAPES[client]
    response = call(app, "POST", path, json=json.loads(json.dumps(body)))
    assert response.status_code == 200, response.text
    assert '"error"' not in response.text.replace('"error":null', ""), response.text[-600:]

"""Histories that a template refuses are put another way; the assistant's last message is gone on with."""

import json
import logging

import pytest
from serve_fakes import FakeModel, Says, expected
from test_serve_api import app_of, call, rendered

ONE_SYSTEM = """{%- for m in messages %}{%- if m.role == "system" and not loop.first %}{{ raise_exception("System message must be at the beginning.") }}{%- endif %}
{{- m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments | items %}[{{ c.function.name }} {{ k }}={{ v }}]{% endfor %}{% endfor %}<eos>{% endfor %}{% if tools %}{% endif %}{% if add_generation_prompt %}assistant:{% endif %}"""
ALTERNATING = """{%- for m in messages %}{%- if m.role not in ("user", "assistant") %}{{ raise_exception("Only user and assistant roles are supported!") }}{%- endif %}
{%- if (m.role == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("Conversation roles must alternate") }}{%- endif %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""  # fmt: skip


def prompt_of(template, path, body):
    """What a template shows of a request; the fake model's answer tells, as it depends on every token."""
    with app_of(FakeModel(context=2048), template=template) as (app, engine):
        seen, submit = [], engine.submit
        engine.submit = lambda sequences: (seen.extend(s.job.prompt for s in sequences), submit(sequences))
        response = call(app, "POST", path, json={"model": "fake", **body})
        assert response.status_code == 200, response.text
    return "".join("<eos>" if t == 256 else chr(t) for t in seen[0])


def role(name, content):
    return {"role": name, "content": content}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "42"}
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
CASES = {
    "taken as it is": (ONE_SYSTEM, CHAT, {"messages": [role("user", "a"), role("user", "b")]}, "user:a<eos>user:b<eos>assistant:"),
    "two system messages": (
        ONE_SYSTEM, CHAT, {"messages": [role("system", "s"), role("system", "t"), role("user", "a")]}, "system:s\n\nt<eos>user:a<eos>assistant:",
    ),
    "a system message in the middle": (
        ONE_SYSTEM, CHAT, {"messages": [role("user", "a"), role("developer", "s"), role("user", "b")]}, "system:s<eos>user:a<eos>user:b<eos>assistant:",
    ),
    "instructions and developer items": (
        ONE_SYSTEM, RESPONSES, {"instructions": "s", "input": [role("developer", "t"), role("developer", "u"), role("user", "a")]},
        "system:s\n\nt\n\nu<eos>user:a<eos>assistant:",
    ),
    "a reminder between turns": (
        ONE_SYSTEM, MESSAGES, {"max_tokens": 2, "system": "s", "messages": [role("user", "a"), role("system", "t")]}, "system:s\n\nt<eos>user:a<eos>assistant:",
    ),
    "two user turns": (ALTERNATING, CHAT, {"messages": [role("user", "a"), role("user", "b")]}, "user:a\n\nb<eos>assistant:"),
    "no system message at all": (ALTERNATING, CHAT, {"messages": [role("system", "s"), role("user", "a")]}, "user:s\n\na<eos>assistant:"),
    "two results": (
        ALTERNATING, CHAT,
        {"messages": [role("user", "a"), {**role("assistant", "b"), "tool_calls": [CALL, {**CALL, "id": "d"}]}, RESULT, {**RESULT, "tool_call_id": "d"}]},
        'user:a<eos>assistant:b\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
        "<eos>user:<tool_response>\n42\n</tool_response>\n\n<tool_response>\n42\n</tool_response><eos>assistant:",
    ),
    "a result, then text": (
        ALTERNATING, MESSAGES,
        {"max_tokens": 2, "messages": [
            role("user", "a"), role("assistant", [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]),
            role("user", [{"type": "tool_result", "tool_use_id": "c", "content": "42"}, {"type": "text", "text": "b"}])]},
        'user:a<eos>assistant:<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><eos>user:<tool_response>\n42\n</tool_response>\n\nb<eos>assistant:',
    ),
    "documents and search results that are text": (
        ONE_SYSTEM, MESSAGES,
        {"max_tokens": 2, "messages": [role("user", [
            {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "a"}, "citations": {"enabled": False}},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "b"}]}},
            {"type": "search_result", "source": "s", "title": "U", "content": [{"type": "text", "text": "c"}]}, {"type": "text", "text": "?"}])]},
        "user:T\na\nb\nU\ns\nc\n?<eos>assistant:",
    ),
    "a call that was cut": (
        ONE_SYSTEM, CHAT,
        {"messages": [role("user", "a"), {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a": '}}]}, RESULT]},
        'user:a<eos>assistant:<tool_call>\n{"name": "f", "arguments": {"a": <eos>tool:42<eos>assistant:',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_template_sees(case):
    template, path, body, expected_text = CASES[case]
    assert prompt_of(template, path, body) == expected_text


def test_a_change_is_logged_with_the_template_s_rule(caplog):
    caplog.set_level(logging.WARNING, "hfc.serve")
    for _ in range(2):
        prompt_of(ONE_SYSTEM, CHAT, {"messages": [role("user", "a"), role("system", "changed and logged")]})
    lines = [r.message for r in caplog.records if "System message must be at the beginning" in r.message]
    assert len(lines) <= 1  # another test may have logged it


def test_a_rule_that_nothing_satisfies_is_named():
    with app_of(template="{{ raise_exception('Only on Sundays') }}") as (app, _):
        response = call(app, "POST", CHAT, json={"model": "fake", "messages": [role("user", "x")]})
        error = response.json()["error"]
        assert response.status_code == 400 and "Only on Sundays" in error["message"] and error["param"] == "messages"


THINKING = "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:<think>\n{% endif %}"
TEMPLATE = "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


@pytest.mark.parametrize(
    ("template", "message", "end"),
    [
        (TEMPLATE, role("assistant", "It is "), "assistant:It is "),
        (TEMPLATE, role("assistant", "It is <eos>"), "assistant:It is <eos>"),
        (THINKING, role("assistant", "It is "), "assistant:<think>\n\n</think>\n\nIt is "),
        (THINKING, {**role("assistant", "It"), "reasoning_content": "hm"}, "assistant:<think>\nhm\n</think>\n\nIt"),
        (THINKING, {**role("assistant", ""), "reasoning_content": "hm"}, "assistant:<think>\nhm"),
    ],
)
def test_a_last_message_of_the_assistant_is_gone_on_with(template, message, end):
    body = {"messages": [role("user", "x"), message], "max_tokens": 2}
    assert prompt_of(template, CHAT, body) == "user:x<eos>" + end
    closed = prompt_of(template, CHAT, {**body, "continue_final_message": False})
    assert closed == f"user:x<eos>assistant:{message['content']}<eos>" + template.split("%}")[-2].split("{%")[0]


def test_a_begun_answer_goes_on_as_if_it_had_not_been_cut():
    whole = expected(rendered(b"user:x<eos>assistant:"), 12)
    with app_of(FakeModel(context=512)) as (app, _):
        for cut in range(13):
            begun = role("assistant", whole[:cut])
            body = {"model": "fake", "messages": [role("user", "x"), begun], "max_tokens": 13 - cut}
            answer = call(app, "POST", CHAT, json=body).json()["choices"][0]["message"]["content"]
            turn = call(app, "POST", MESSAGES, json=body).json()["content"][0]["text"]
            assert answer == turn and (whole + answer[-1]).startswith(whole[:cut] + answer) and answer


def test_a_begun_thought_is_a_thought():
    with app_of(Says("hm</think>yes", context=512), template=THINKING.replace("<think>", "")) as (app, _):
        messages = [role("user", "x"), {**role("assistant", ""), "reasoning_content": ""}]
        assert call(app, "POST", CHAT, json={"model": "fake", "messages": messages}).status_code == 200


def test_only_the_assistant_s_message_can_be_gone_on_with():
    with app_of() as (app, _):
        for name, value in (("continue_final_message", True), ("add_generation_prompt", False)):
            response = call(app, "POST", CHAT, json={"model": "fake", "messages": [role("user", "x")], name: value})
            assert response.status_code == 400 and response.json()["error"]["param"] == name


def test_going_on_and_beginning_exclude_each_other():
    body = {
        "messages": [role("user", "x"), role("assistant", "y")],
        "continue_final_message": True,
        "add_generation_prompt": True,
    }
    with app_of() as (app, _):
        assert call(app, "POST", CHAT, json={"model": "fake", **body}).status_code == 400


def test_results_stay_apart_where_the_template_knows_them():
    template = ONE_SYSTEM
    body = {
        "messages": [
            role("user", "a"),
            {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "d"}]},
            RESULT,
            {**RESULT, "tool_call_id": "d"},
        ]
    }
    text = prompt_of(template, CHAT, json.loads(json.dumps(body)))
    assert text == "user:a<eos>assistant:[f a=1][f a=1]<eos>tool:42<eos>tool:42<eos>assistant:"

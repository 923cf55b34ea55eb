"""Tool calls out of text, however it is cut into pieces; styles; histories."""

import json

import pytest

from hfc.serve.output import ParsedMessage
from hfc.serve.tools import explained, parser_of, style_of

SCHEMAS = {
    "weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}},
    },
    "now": {"type": "object", "properties": {}},
}
HERMES = [
    ('<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm {}\\"", "days": 3}}\n</tool_call>', "", [("weather", {"city": 'Ulm {}"', "days": 3})]),
    ('Let me see.\n<tool_call>{"name":"now","arguments":{}}</tool_call>\n', "Let me see.", [("now", {})]),
    (
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n<tool_call>\n{"name": "weather", "arguments": {"city": "a"}}\n</tool_call>',
        "", [("now", {}), ("weather", {"city": "a"})],
    ),
    ('<tool_call>{"arguments": {"city": "x"}, "name": "weather"}</tool_call>', "", [("weather", {"city": "x"})]),
    ('<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"x\\"}"}</tool_call>', "", [("weather", {"city": "x"})]),
    ('<tool_call>{"name": "weather", "arguments": {"city": "</tool_call>"}}</tool_call>', "", [("weather", {"city": "</tool_call>"})]),
    ('<tool_call>{"name": "unknown", "arguments": {}}</tool_call>', '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>', []),
    ("<tool_call>nonsense</tool_call> and on", "<tool_call>nonsense</tool_call> and on", []),
    ("a < b <tool and </tool_call>", "a < b <tool and </tool_call>", []),
    ("plain text\n\nwith lines\n", "plain text\n\nwith lines\n", []),
]  # fmt: skip
XML = [
    (
        "<tool_call>\n<function=weather>\n<parameter=city>\nNew \"York\"\nline\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        "", [("weather", {"city": 'New "York"\nline', "days": 3})],
    ),
    ("I look.\n\n<tool_call>\n<function=now>\n</function>\n</tool_call>", "I look.", [("now", {})]),
    ("<function=weather>\n<parameter=tags>\n[1, 2]\n</parameter>\n</function>", "", [("weather", {"tags": [1, 2]})]),
    ("<tool_call><function=weather><parameter=city>12</parameter></function></tool_call>", "", [("weather", {"city": "12"})]),
    ("<tool_call>\n<function=weather>\n<parameter=days>\nmany\n</parameter>\n</function>\n</tool_call>", "", [("weather", {"days": "many"})]),
    (
        "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        "", [("now", {}), ("now", {})],
    ),
    ("<tool_call>\n<function=who>\n</function>\n</tool_call>", "<tool_call>\n<function=who>\n</function>\n</tool_call>", []),
    ("<tool_call><function=weather>\n<parameter=days>\n3\n</parameter></tool_call> so", " so", [("weather", {"days": 3})]),
    ("<tool_call>\n<function=weather>\n<parameter=city>\nUl", "", [("weather", {"city": "Ul"})]),
]  # fmt: skip
BARE = [
    ('{"name": "weather", "parameters": {"city": "Ulm"}}', "", [("weather", {"city": "Ulm"})]),
    ('<|python_tag|>{"name": "now", "parameters": {}}', "", [("now", {})]),
    ('{"answer": 42}', '{"answer": 42}', []),
    ("Hello {you}", "Hello {you}", []),
]
CASES = [("hermes", *c) for c in HERMES] + [("xml", *c) for c in XML] + [("json", *c) for c in BARE]


def parsed(style, pieces):
    parser, message = parser_of(style, SCHEMAS), ParsedMessage()
    for delta in [d for piece in pieces for d in parser.push(piece)] + parser.close():
        message.add(delta)
    return message


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize(("style", "text", "content", "calls"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_calls_and_content(style, text, content, calls, size):
    message = parsed(style, [text[i : i + size] for i in range(0, len(text), size)])
    assert [(c.name, json.loads(c.arguments)) for c in message.calls] == calls
    assert message.content == content
    assert len({c.id for c in message.calls}) == len(calls)


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(("style", "call"), [
    ("hermes", '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'),
    ("xml", "<tool_call>\n<function=now>\n</function>\n</tool_call>"),
])  # fmt: skip
def test_half_of_another_call_is_no_content(style, call, size):
    """An answer that max_tokens or a stop text ends in the middle of its next call's tags."""
    more = "\n" + call.replace("now", "weather")
    for half in range(1, more.index("weather") + 4):
        text = call + more[:half]
        message = parsed(style, [text[i : i + size] for i in range(0, len(text), size)])
        assert message.content == "" and [c.name for c in message.calls] == ["now"], text
    for text, content in ((" and < b", " and < b"), ("\nso <tool", "\nso <tool")):
        assert parsed(style, [call + text]).content == content
    assert parsed(style, ["<tool"]).content == "<tool", "without a call before it may be text"


@pytest.mark.parametrize(("style", "start"), [
    ("hermes", '<tool_call>\n{"name": "weather", "arguments": {"city": "a long na'),
    ("xml", "<tool_call>\n<function=weather>\n<parameter=city>\na long na"),
    ("json", '{"name": "weather", "parameters": {"city": "a long na'),
])  # fmt: skip
def test_arguments_stream_before_the_call_ends(style, start):
    parser = parser_of(style, SCHEMAS)
    deltas = [d for c in start for d in parser.push(c)]
    assert deltas[0].kind == "call" and deltas[0].name == "weather"
    assert "".join(d.text for d in deltas[1:]) == '{"city": "a long na'


def test_styles_are_read_off_the_template():
    assert style_of("{{ tools }} <tool_call> <function=x>") == "xml" and style_of("{{ tools }}<tool_call>") == "hermes"
    assert style_of("{{ tools }}") == "json" and style_of("{{ messages }}") == style_of(None) == "none"


def test_a_template_without_tools_gets_them_as_text():
    tool = {"type": "function", "function": {"name": "now", "parameters": {}}}
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": {"a": 1}}}
    messages = [
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "c"},
    ]
    system, user, assistant, result = explained(messages, [tool])
    assert system["role"] == "system" and '"now"' in system["content"] and user == messages[0]
    assert parsed("hermes", [assistant["content"]]).calls[0].name == "now"
    assert result == {"role": "user", "content": "<tool_response>\nnoon\n</tool_response>"}

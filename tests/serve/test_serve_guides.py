"""Reasoning split as it streams, thinking budgets, and grammars over a byte vocabulary."""

import asyncio

import httpx
import numpy as np
import pytest
from serve_fakes import EOS, GREEDY, TOKENIZER, VOCAB, Bytes, FakeModel, Says, make_engine, make_served
from test_serve_api import call

from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import Vocabulary
from hfc.sampling import TokenLimits
from hfc.serve.app import make_app
from hfc.serve.errors import ApiError
from hfc.serve.grammar import Grammar, GrammarCompiler
from hfc.serve.models import Models
from hfc.serve.output import Output
from hfc.serve.reasoning import ReasoningSplit, Thought
from hfc.serve.served import Served, ServerSettings
from hfc.serve.tools import forced_grammar, free_grammar

THINKING = "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}<think>\n{% if enable_thinking is false %}</think>\n{% endif %}{% endif %}"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "is_open", "reasoning", "content"),
    [
        ("I see.\n</think>\n\nYes.\n", True, "I see.", "Yes.\n"),
        ("<think>\nhm\n\nhm</think>ok", False, "hm\n\nhm", "ok"),
        ("\n<think></think>\n\nok", False, "", "ok"),
        ("<thinner> text", False, "", "<thinner> text"),
        ("no thought </think> here", False, "", "no thought </think> here"),
        ("never ends <", True, "never ends <", ""),
        ("\n text", False, "", "\n text"),
    ],
)
def test_reasoning_and_content(text, is_open, reasoning, content, size):
    split = ReasoningSplit(is_open)
    parts = [split.push(text[i : i + size]) for i in range(0, len(text), size)] + [split.close()]
    assert ("".join(r for r, _ in parts), "".join(c for _, c in parts)) == (reasoning, content)


def chat(template, **body):
    engine = make_engine(FakeModel(context=512))
    app = make_app(Models([make_served(engine, template)]), ServerSettings())

    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.post(
                "/v1/chat/completions", json={"model": "fake", "messages": [{"role": "user", "content": "x"}], **body}
            )

    try:
        return asyncio.run(main()).json()
    finally:
        engine.close()


def test_a_thinking_budget_closes_the_thought():
    answer = chat(THINKING, thinking_budget=10, max_completion_tokens=40)
    message, usage = answer["choices"][0]["message"], answer["usage"]
    assert len(message["reasoning_content"]) == 10 and "</think>" not in message["content"]
    assert (
        len(message["content"]) == 40 - 10 - len("</think>\n\n")
        and 10 <= usage["completion_tokens_details"]["reasoning_tokens"] <= 18
    )


def test_effort_none_switches_thinking_off():
    message = chat(THINKING, reasoning_effort="none", max_completion_tokens=5)["choices"][0]["message"]
    assert "reasoning_content" not in message and len(message["content"]) == 5


def test_a_grammar_waits_for_the_end_of_the_thought():
    answer = chat(
        THINKING, thinking_budget=5, response_format={"type": "regex", "pattern": "[0-9]{4}"}, max_completion_tokens=60
    )
    message = answer["choices"][0]["message"]
    assert len(message["reasoning_content"]) == 5 and message["content"].isdigit() and len(message["content"]) == 4
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_an_answer_does_not_end_in_a_thought_before_its_grammar():
    grammar = Grammar(COMPILER.regex("[0-9]{4}", "x"), TOKENIZER, VOCAB, Thought(True))
    logits = np.zeros(VOCAB, np.float32)
    assert grammar.limit(logits)[EOS] == -np.inf and np.isfinite(grammar.limit(logits)[:EOS]).all()
    limits = TokenLimits(VOCAB)
    grammar.restrict(limits)
    assert not limits.mask[EOS >> 5] >> (EOS & 31) & 1 and limits.mask[0] == 0xFFFFFFFF


CLOSE_ID = 257
WITH_TAGS = Tokenizer(
    Bytes(), VOCAB, {EOS: "<eos>", CLOSE_ID: "</think>"}, eos=EOS, stop_ids=frozenset({EOS})
)  # the tag is a control token, which texts do not show by themselves


def test_a_thought_ends_by_its_token_and_not_by_its_spelling():
    thought = Thought(True, close_id=CLOSE_ID)
    for byte in b"so </think> is a tag":
        assert thought.push(byte, bytes([byte])) and thought.is_open
    assert thought.push(CLOSE_ID, b"</think>") and not thought.is_open
    output = Output(True, close_id=CLOSE_ID)
    for token in [*b"so </think> is\n", CLOSE_ID, *b"\n\nyes </think>"]:
        output.push("</think>" if token == CLOSE_ID else chr(token), token)
    output.close()
    assert (output.message.reasoning, output.message.content) == ("so </think> is", "yes </think>")


def test_tags_that_are_control_tokens_structure_the_answer():
    class Thinks(Says):
        def _row(self, slot, position, token):
            logits = super()._row(slot, position, token)
            chosen = int(logits.argmax())
            return np.roll(logits, CLOSE_ID - chosen) if chosen == ord("|") else logits

    template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>assistant:{% endif %}"
    )
    engine = make_engine(Thinks("hm|yes", context=512))
    served = Served("fake", Vocabulary(WITH_TAGS, template), engine, GREEDY)
    app = make_app(Models([served]), ServerSettings())
    body = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
    message = call(app, "POST", "/v1/chat/completions", json=body).json()["choices"][0]["message"]
    engine.close()
    assert (message["reasoning_content"], message["content"]) == ("hm", "yes")


COMPILER = GrammarCompiler(TOKENIZER, VOCAB)


def accepts(lark, text):
    """Whether a text is allowed byte by byte, and an end after it."""
    grammar = Grammar(COMPILER.lark(lark, "tools"), TOKENIZER, VOCAB, Thought(False))
    logits = np.zeros(VOCAB, np.float32)
    for token in text.encode():
        if not np.isfinite(grammar.limit(logits)[token]):
            return False
        if grammar.accept(token):
            return text.encode().endswith(bytes([token]))
    return bool(np.isfinite(grammar.limit(logits)[EOS]))


SCHEMAS = {
    "weather": {
        "type": "object", "required": ["city"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    },
    "now": {"type": "object", "properties": {}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("style", "good", "bad"),
    [
        (
            "xml",
            "<tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n<parameter=unit>\nC\n</parameter>\n</function>\n</tool_call>",
            "<tool_call>\n<function=weather>\n</function>\n</tool_call>",
        ),
        (
            "xml",
            "<tool_call>\n<function=now>\n</function>\n</tool_call>",
            "<tool_call>\n<function=then>\n</function>\n</tool_call>",
        ),
        (
            "hermes",
            '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
            '<tool_call>\n{"name": "weather", "arguments": {"days": 1}}\n</tool_call>',
        ),
        (
            "json",
            '{"name": "weather", "parameters": {"city": "Ulm", "days": 3}}',
            '{"name": "weather", "parameters": {"city": 3}}',
        ),
    ],
)
def test_forced_calls_follow_their_style_and_schema(style, good, bad):
    lark = forced_grammar(style, SCHEMAS, several=True)
    assert accepts(lark, good) and not accepts(lark, bad) and not accepts(lark, "Hello")


@pytest.mark.parametrize(
    ("style", "text", "allowed"),
    [
        ("hermes", "Just an answer, with { and < and <tool", True),
        ("hermes", "", True),
        ("hermes", 'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>', True),
        ("hermes", '<tool_call>\n{"name": "weather", "arguments": {"days": 3}}\n</tool_call>', False),
        ("hermes", '<tool_call>\n{"name": "now", "arguments": {"x": 3}}\n</tool_call>\nand more', True),
        ("hermes", '<tool_call>\n{"name": "then", "arguments": {}}\n</tool_call>', False),
        ("hermes", "<tool_call>nonsense", False),
        ("xml", "Hi", True),
        (
            "xml",
            "a\n<tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n</function>\n</tool_call>",
            True,
        ),
        ("xml", "<tool_call>\n<function=weather>\n</function>\n</tool_call>", False),
        ("xml", "<tool_call>\n<function=now>\n<parameter=z>\n1\n</parameter>\n</function>\n</tool_call>ok", True),
        ("json", "Hi {x}", True),
        ("json", "", True),
        ("json", "<b>bold</b>", True),
        ("json", '{"name": "weather", "parameters": {"city": "Ulm"}}', True),
        ("json", '{"name": "weather", "parameters": {"city": 3}}', False),
    ],
)
def test_strict_tools_are_held_to_their_schemas_where_the_model_decides(style, text, allowed):
    assert accepts(free_grammar(style, SCHEMAS, {"weather"}), text) == allowed


def test_an_opening_that_is_a_control_token():
    tokenizer = Tokenizer(Bytes(), VOCAB, {EOS: "<eos>", EOS + 1: "<tool_call>"}, eos=EOS, stop_ids=frozenset({EOS}))
    lark = free_grammar("hermes", SCHEMAS, {"weather"}, "<tool_call>")
    grammar = Grammar(GrammarCompiler(tokenizer, VOCAB).lark(lark, "tools"), tokenizer, VOCAB, Thought(False))
    for token in [*b"So: ", EOS + 1, *b'\n{"name": "weather", "arguments": {"city']:
        assert np.isfinite(grammar.limit(np.zeros(VOCAB, np.float32))[token])
        grammar.accept(token)
    assert not np.isfinite(grammar.limit(np.zeros(VOCAB, np.float32))[ord("x")])


def test_schemas_that_cannot_compile_are_a_400():
    with pytest.raises(ApiError, match="grammar") as refused:
        COMPILER.json_schema({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, "response_format")
    assert refused.value.status == 400
    deep = {}
    for _ in range(3000):
        deep = {"type": "array", "items": deep}
    with pytest.raises(ApiError):
        COMPILER.json_schema(deep, "response_format")

"""The prefix cache under a coding agent: twenty turns in the shape that Claude Code sends, each computes its new tokens only."""

import asyncio
import json

import httpx
import pytest
from model_reference import MODELS
from serve_fakes import EOS, GREEDY, TOKENIZER, Bytes, FakeModel, Says, make_engine
from serve_script import TEMPLATE
from test_serve_api import app_of, call

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import Vocabulary
from hfc.serve.app import make_app
from hfc.serve.engine import Engine
from hfc.serve.metrics import Metrics
from hfc.serve.models import Models
from hfc.serve.prompt import chat_prompt
from hfc.serve.scheduler import Limits
from hfc.serve.served import Served, ServerSettings

BLOCK = 64  # tokens of a block of the cache
SYSTEM = "You work on a repository. " * 40
TOOLS = [
    {"name": name, "description": f"{name} does this. " * 10, "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    for name in ("Read", "Edit", "Bash")
]  # fmt: skip


def request(turns, number):
    """number: changes the attribution line, as every request of the client does."""
    line = {"type": "text", "text": f"x-anthropic-billing-header: version=1.{number}; entry=cli"}
    system = [line, {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    return {
        "model": "fake", "max_tokens": 24, "system": system, "messages": turns, "tools": TOOLS, "metadata": {"user_id": str(number)},
        "thinking": {"type": "adaptive"}, "context_management": {"edits": []}, "output_config": {"effort": "high"},
    }  # fmt: skip


def call_and_result(i):
    """A turn of the agent's: what it said, its call, and what the tool gave."""
    call = {"type": "tool_use", "id": f"toolu_{i}", "name": "Read", "input": {"path": f"src/file_{i}.py"}}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": f"line {i}: x = {i}\n" * 12}
    reminder = {"type": "text", "text": "<system-reminder>stay brief</system-reminder>"}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": f"I read file {i}."}, call]},
        {"role": "user", "content": [result, reminder]},
    ]


async def cancelled(app, engine, body):
    """A request whose client leaves as soon as there is a part of its answer."""
    left, parts = (
        asyncio.Event(),
        [{"type": "http.request", "body": json.dumps({**body, "stream": True}).encode(), "more_body": False}],
    )

    async def receive():
        if parts:
            return parts.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if b"content_block_delta" in message.get("body", b""):
            left.set()

    headers = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/messages",
        "raw_path": b"/v1/messages",
        "query_string": b"",
        "headers": headers,
    }
    await app(
        {**scope, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 9)},
        receive,
        send,
    )
    assert left.is_set()
    while engine.active:
        await asyncio.sleep(0.005)


async def replay(engine, tokenizer):
    """Twenty turns, an edited last message, the same request again, a cancelled answer: each computes its new tokens. The text of the last."""
    app = make_app(Models([Served("fake", Vocabulary(tokenizer, TEMPLATE), engine, GREEDY)]), ServerSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:

        async def ask(turns, number):
            answer = (await client.post("/v1/messages", json=request(turns, number))).json()
            usage = answer["usage"]
            return usage["input_tokens"], usage["input_tokens"] + usage["cache_read_input_tokens"], answer["content"]

        turns = [{"role": "user", "content": [{"type": "text", "text": "Mend the bug in src."}]}]
        computed, before, _ = await ask(turns, 0)
        assert computed == before > 1000
        for i in range(1, 20):
            turns += call_and_result(i)
            computed, total, _ = await ask(turns, i)
            assert computed <= total - before + 2 * BLOCK, f"turn {i} computed {computed} of {total} tokens"
            before = total
        edited = {"role": "user", "content": [turns[-1]["content"][0], {"type": "text", "text": "Now stop."}]}
        computed, total, _ = await ask([*turns[:-1], edited], 20)
        assert computed <= 2 * BLOCK, f"{computed} of {total} tokens: recurrent state was kept where the message began"
        computed, *_ = await ask(turns, 21)
        assert computed <= 2 * BLOCK, "the same request again"
        assert (await client.post("/v1/messages/count_tokens", json=request(turns, 22))).json()[
            "input_tokens"
        ] == before
        turns += call_and_result(20)
        await cancelled(app, engine, request(turns, 23))
        computed, total, text = await ask(turns, 24)
        assert computed <= 2 * BLOCK, f"{computed} of {total} tokens again, whose first answer was broken off"
        return turns, text


@pytest.mark.parametrize("recurrent", [False, True], ids=["attention", "recurrent"])
def test_twenty_turns_of_a_coding_agent_compute_their_new_tokens_only(recurrent):
    engine = make_engine(
        FakeModel(slots=2, context=16384, max_rows=2048, recurrent=recurrent), cache_bytes=1 << 26, prefill_rows=2048
    )
    asyncio.run(asyncio.wait_for(replay(engine, TOKENIZER), 60))
    engine.close()


THINKS = (  # as Qwen 3.5's template: an answer begins with its thought
    "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}\n</tool_call>{% endfor %}<eos>"
    "{% endfor %}{% if add_generation_prompt %}assistant:<think>\n{% endif %}{# tools #}"
)


def test_a_thought_before_a_call_is_not_computed_again():
    """Codex sends an answer's items back as they came: the prompt after a tool's result begins with all that was written."""
    said = (
        "<think>\n"
        + "I should look. " * 30
        + '\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    )
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    asked = {"role": "user", "content": "Look."}
    with app_of(Says(said, context=4096, max_rows=512), template=THINKS, cache_bytes=1 << 24) as (app, _):
        first = call(app, "POST", "/v1/responses", json={"input": [asked], "tools": [tool]}).json()
        thought, made = first["output"]
        assert thought["type"] == "reasoning" and made["arguments"] == '{"a": 1}'
        result = {"type": "function_call_output", "call_id": made["call_id"], "output": "found"}
        again = {"input": [asked, thought, made, result], "tools": [tool]}
        used = call(app, "POST", "/v1/responses", json=again).json()["usage"]
    computed = used["input_tokens"] - used["input_tokens_details"]["cached_tokens"]
    assert computed < BLOCK < len(said) < used["input_tokens_details"]["cached_tokens"]


class Ascii(Bytes):
    """Tokens of a vocabulary of 128."""

    def encode(self, text, parse_special):
        return [LAST if token == EOS else token for token in super().encode(text, parse_special)]


LAST = 127


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    """DeltaNet and attention, compiled for the host."""
    folder = tmp_path_factory.mktemp("hybrid")
    config = json.loads((MODELS / "qwen3_5_text" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16384}))
    (folder / "model.safetensors").symlink_to(MODELS / "qwen3_5_text" / "model.safetensors")
    options = CompileOptions(ctx=16384, slots=2, max_rows=256)
    model = load(compile_model(folder, ["host"], options), "host", 2)
    assert model.plan.is_recurrent
    yield model
    model.close()


@pytest.mark.long  # seconds of compiling and computing
def test_twenty_turns_with_a_real_hybrid_model(hybrid):
    """And the last answer is that of a server that has seen nothing before."""
    tokenizer = Tokenizer(Ascii(), hybrid.vocab, {LAST: "<eos>"}, eos=LAST, stop_ids=frozenset({LAST}))

    async def main(turns=None):
        engine = Engine(hybrid, Limits(2, 256, hybrid.max_outputs, 16384, prefill_rows=256), 1 << 28, Metrics())
        try:
            if turns is None:
                return await replay(engine, tokenizer)
            app = make_app(Models([Served("fake", Vocabulary(tokenizer, TEMPLATE), engine, GREEDY)]), ServerSettings())
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                answer = (await client.post("/v1/messages", json=request(turns, 99))).json()
            assert answer["usage"]["cache_read_input_tokens"] == 0
            return answer["content"]
        finally:
            engine.close()

    turns, text = asyncio.run(asyncio.wait_for(main(), 300))
    assert asyncio.run(asyncio.wait_for(main(turns), 300)) == text and text[0]["text"]


def test_the_place_where_the_last_message_begins_is_a_mark(smollm2):
    """Behind a control token, so that what stands before it is the same whatever the message is changed to."""
    before = [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Why not?"},
    ]
    marked = []
    for text in (
        "Why?",
        " spaces are cut by some templates \n",
        "it says <|im_start|> and <|im_end|> itself",
        "x" * 3000,
    ):
        prompt = chat_prompt(smollm2, [*before, {"role": "user", "content": text}])
        last, branch = prompt.marks
        assert 0 < last < branch < len(prompt.tokens)
        marked.append(prompt.tokens[:last])
    assert len(set(marked)) == 1
    assert smollm2.tokenizer.decode(marked[0], keep_special=True).endswith("Why not?<|im_end|>\n<|im_start|>")

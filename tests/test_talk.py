"""`hfc chat` through a pseudo-terminal, its conversation, and what `hfc run` takes beside a prompt."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from letters import letters_folder
from rich.console import Console
from test_cli import hfc  # noqa: F401  (fixture)

from hfc.base.diagnostics import HfcError
from hfc.cli.chat import Chat
from hfc.cli.sampling import chosen_sampling, recommended_sampling, template_variables
from hfc.cli.talk import conversation, remote
from hfc.cli.talk.conversation import Conversation
from hfc.cli.talk.piece import TextPiece
from hfc.cli.talk.screen import split_blocks
from hfc.runtime.recommended import sampling_of_config, sampling_of_gguf
from hfc.runtime.sampler import Sampling
from hfc.runtime.vocabulary import load_vocabulary
from hfc.serve.record import ServerRecord

# What is said so far, and whether thinking is on, can be read off the prompt's length in /stats.
TEMPLATE = (
    "{% if enable_thinking is defined and enable_thinking %}T{% endif %}"
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return letters_folder(tmp_path_factory.mktemp("models") / "letters", TEMPLATE)


@pytest.fixture
def terminal(folder, tmp_path):
    """Start `hfc WORDS` in a pseudo-terminal."""
    started = []

    def start(*words):
        environment = {
            **os.environ, "HFC_CACHE": str(tmp_path / "cache"), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "100",
        }  # fmt: skip
        arguments = ["-m", "hfc", *map(str, words)]
        child = pexpect.spawn(
            sys.executable, arguments, env=environment, encoding="utf-8", timeout=90, dimensions=(40, 100)
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def send(child, text: str) -> None:
    """Type a line at the next prompt, which begins with the terminal's switch for pasting."""
    child.expect_exact("\x1b[?2004h")
    child.expect_exact(">")
    child.send(text + "\r")


def test_a_conversation_at_a_terminal(terminal, folder, tmp_path):
    child = terminal("chat", folder, "--device", "host", "--ctx", "256", "-n", "8", "--temp", "0")
    child.expect("letters. /help lists commands")
    send(child, "hi")
    send(child, "/stats")
    child.expect(r"prompt 7 tokens.*answer 8 tokens.*max tokens")
    send(child, "/regen")
    send(child, "/stats")
    child.expect(r"prompt 7 tokens")
    send(child, "/set max_tokens 2")
    child.expect("max_tokens = 2")
    send(child, "/set thinking on")
    send(child, "yo")
    send(child, "/stats")
    child.expect(r"prompt 2\d tokens.*answer 2 tokens")
    send(child, "/system be brief")
    child.expect("system: be brief")
    send(child, f"/save {tmp_path / 'talk.json'}")
    child.expect("saved 4 messages")
    send(child, "/clear")
    send(child, f"/load {tmp_path / 'talk.json'}")
    child.expect("loaded 4 messages")
    (tmp_path / "notes.txt").write_text("some notes")
    send(child, f"/file {tmp_path / 'notes.txt'}")
    child.expect("notes.txt goes with your next message")
    send(child, "/sett temperature 1")
    child.expect("did you mean '/set'")
    send(child, "/set temperature hot")
    child.expect("it must be a number")
    send(child, "/help")
    child.expect("/thought")
    send(child, "one\x0atwo")  # Ctrl-J begins a line
    send(child, f"/save {tmp_path / 'more.json'}")
    child.expect("saved 6 messages")
    send(child, "/bye")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    found = json.loads((tmp_path / "more.json").read_text())
    assert found["system"] == "be brief" and [m["role"] for m in found["messages"]] == ["user", "assistant"] * 3
    assert found["messages"][4]["content"] == "notes.txt:\n\nsome notes\n\none\ntwo"


def test_control_c_stops_the_answer_only(terminal, folder, tmp_path):
    """run without a prompt is the chat; an answer without an end is stopped, and the conversation goes on."""
    child = terminal(
        "run", folder, "--device", "host", "--ctx", "256", "--temp", "5", "--min-p", "0", "--top-p", "1", "--top-k", "0"
    )
    child.expect("/help lists commands")
    send(child, "/set max_tokens 200")
    send(child, "hi")
    child.expect("\r\n")
    child.sendintr()
    send(child, "/stats")
    child.expect(r"stopped|answer \d+ tokens")
    send(child, "/set max_tokens 3")
    send(child, "again")
    send(child, "/stats")
    child.expect(r"answer 3 tokens|answer \d tokens.*end")
    child.expect_exact("\x1b[?2004h")
    child.expect_exact(">")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_what_came_before_control_c_stays():
    class Interrupted:
        name = "m"

        def answer(self, *_):
            yield TextPiece("thought", "hm")
            yield TextPiece("text", "half an an")
            raise KeyboardInterrupt

    talk, shown = Conversation(Sampling()), io.StringIO()
    talk.say("hi")
    Chat(Interrupted(), talk, Console(file=shown, width=80))._answer()
    assert talk.messages[-1] == {"role": "assistant", "content": "half an an"} and talk.summary == "stopped"
    assert "thought for" in shown.getvalue() and "half an an" in shown.getvalue() and "stopped" in shown.getvalue()


def test_a_server_that_runs_answers(monkeypatch):
    """Server-sent events to pieces; the request carries what the conversation says."""
    seen = {}

    class Answer:
        status = 200

        def __iter__(self):
            for event in (
                {"choices": [{"delta": {"reasoning_content": "hm"}}]}, {"choices": [{"delta": {"content": "yes"}}]},
                {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 4, "completion_tokens": 2}},
            ):  # fmt: skip
                yield f"data: {json.dumps(event)}\n".encode()
                yield b"\n"
            yield b"data: [DONE]\n"

    class Connection:
        def __init__(self, *_, **__): ...
        def request(self, method, path, body=None, headers=None):
            seen["path"], seen["body"] = path, json.loads(body)

        def getresponse(self):
            return Answer()

        def close(self): ...

    monkeypatch.setattr("http.client.HTTPConnection", Connection)
    answerer = remote.Remote("m", ServerRecord(1, 2, "127.0.0.1", "m", 0.0))
    messages = [{"role": "user", "content": "hi"}]
    pieces = list(answerer.answer(messages, Sampling(temperature=0.5, seed=3), 9, {"enable_thinking": False}))
    assert [(p.kind, p.text) for p in pieces[:2]] == [("thought", "hm"), ("text", "yes")]
    assert pieces[2].kind == "end" and "answer 2 tokens" in pieces[2].text and "stop" in pieces[2].text
    body = seen["body"]
    assert body["temperature"] == 0.5 and body["max_tokens"] == 9 and body["seed"] == 3 and body["messages"] == messages
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_server_is_taken_only_for_its_own_models_on_loopback(monkeypatch):
    records = [
        ServerRecord(1, 1, "0.0.0.0", "m", 0.0),
        ServerRecord(2, 1, "127.0.0.1", "a, m", 0.0),
        ServerRecord(3, 1, "127.0.0.1", "x", 0.0),
    ]
    monkeypatch.setattr(remote, "running", lambda: records)
    monkeypatch.setattr(remote, "_answers", lambda record: True)
    assert remote.find_server("m").record.port == 2 and remote.find_server("y") is None
    monkeypatch.setattr(remote, "_answers", lambda record: False)
    assert remote.find_server("m") is None


def test_blocks_are_printed_when_they_are_whole():
    assert split_blocks("one\n\ntwo") == ("one\n\n", "two")
    assert split_blocks("```\na\n\nb") == ("", "```\na\n\nb"), "an empty line in a fence ends no block"
    assert split_blocks("```\na\n\nb\n```\n\nc") == ("```\na\n\nb\n```\n\n", "c")
    assert split_blocks("~~~\n```\n\n") == ("", "~~~\n```\n\n")


def test_a_conversation_keeps_what_was_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HFC_CACHE", str(tmp_path))
    talk = Conversation(Sampling())
    talk.say("hi")
    talk.add_answer("", "hm", "stopped")
    assert talk.messages == [] and talk.thought == "hm", "a question without an answer is taken back"
    with pytest.raises(HfcError, match="nothing to answer again"):
        talk.take_back()
    talk.say("hi")
    talk.add_answer("yes", "", "")
    conversation.save(talk, "one")
    with pytest.raises(HfcError, match="no such conversation") as error:
        conversation.load(talk, "two")
    assert "one" in error.value.hint
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(HfcError, match="not a saved conversation"):
        conversation.load(talk, str(tmp_path / "bad.json"))
    assert talk.take_back() == "hi" and talk.messages == []
    for words, message in (
        ("top_p 3", "top-p is 3"),
        ("heat 1", "unknown setting 'heat'"),
        ("seed x", "whole number"),
        ("seed", "missing"),
    ):
        with pytest.raises(HfcError, match=message):
            conversation.set_value(talk, words)
    conversation.set_value(talk, "thinking off")
    assert talk.variables == {"enable_thinking": False}


def test_what_run_takes_beside_a_prompt(hfc, folder, tmp_path):  # noqa: F811
    run = ("run", folder, "--device", "null", "-n", 3, "--temperature", 0)
    (tmp_path / "prompt.txt").write_bytes(b"hi\r\nthere\r\n")
    found = json.loads(hfc(*run, "-f", tmp_path / "prompt.txt", "--json")[1])
    assert (
        found["prompt_tokens"] == len("u:hi\nthere;a:")
        and len(found["tokens"]) == 3
        and found["reason"] == "max tokens"
    )
    assert json.loads(hfc(*run, "hi", "--json", "--system", "S", "--think", "on")[1])["prompt_tokens"] == len(
        "Ts:S;u:hi;a:"
    )
    for words, message in (
        (("",), "the prompt is empty"), ((" \n",), "the prompt is empty"), (("hi", "-f", tmp_path / "prompt.txt"), "one of them"),
        (("hi", "--image", "a.png"), "text models"), (("hi", "--mmproj", "m.gguf"), "text models"),
        (("hi", "--var", "messages=1"), "NAME=VALUE"), (("hi", "--think", "maybe"), "on or off"),
        (("hi", "--raw", "--think", "on"), "no meaning with --raw"), (("-f", tmp_path / "none.txt"), "none.txt"),
    ):  # fmt: skip
        code, _, err = hfc(*run, *words)
        assert code == 2 and message in err, (words, err)
    assert hfc("chat", folder)[0] == 2, "a chat needs a terminal"


def test_variables_of_the_template():
    assert template_variables(["a=1", "b=true"], None) == {"a": "1", "b": True}
    assert template_variables(None, False) == {"enable_thinking": False}


def test_the_model_s_own_sampling_is_the_default(tmp_path):
    folder = letters_folder(tmp_path / "m")
    assert recommended_sampling(str(folder), load_vocabulary(folder)) == Sampling()
    (folder / "generation_config.json").write_text(
        '{"temperature": 0.6, "top_p": 0.9, "eos_token_id": 1, "top_k": 99999999}'
    )
    found = recommended_sampling(str(folder), load_vocabulary(folder))
    assert (found.temperature, found.top_p, found.min_p) == (0.6, 0.9, 0.0), "what the file leaves out is transformers'"
    assert chosen_sampling(found, temperature=0.1).temperature == 0.1
    assert sampling_of_config({"do_sample": False, "temperature": 0.6}) == {"temperature": 0.0}
    assert sampling_of_config({"temperature": "hot", "top_p": 7}) == {"temperature": 1.0, "top_k": 50, "min_p": 0.0}
    assert sampling_of_config({"bos_token_id": 1}) == {}
    keys = {"general.sampling.temp": 0.7, "general.sampling.top_k": 20, "general.sampling.min_p": True}
    assert sampling_of_gguf(keys) == {"temperature": 0.7, "top_k": 20}
    qwen = recommended_sampling("qwen3:8b", load_vocabulary(folder))
    assert (qwen.temperature, qwen.top_k) == (0.6, 20) and recommended_sampling("Qwen/Qwen3-8B", None) == qwen


def test_chat_needs_no_extra():
    code = "import sys, hfc.cli.chat; print([m for m in ('fastapi', 'uvicorn', 'llguidance', 'prometheus_client') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"

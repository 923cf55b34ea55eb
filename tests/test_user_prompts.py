"""Prompts as they are typed and piped: control tokens, line ends of Windows, consoles that cannot show a character."""

import io
import os
import subprocess
import sys

import pytest
from letters import TEMPLATE, letters_folder

from hfc.cli.run import encode_chat, encode_raw, read_prompt
from hfc.runtime.vocabulary import load_vocabulary


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return load_vocabulary(letters_folder(tmp_path_factory.mktemp("models") / "chat", TEMPLATE + "<end>"))


def test_a_prompt_written_by_hand_has_its_control_tokens_with_special(vocabulary):
    prompt = "<begin>user: hi<end>"
    assert encode_raw(vocabulary, prompt).count(1) == 0 and len(encode_raw(vocabulary, prompt)) == len(prompt)
    assert encode_raw(vocabulary, prompt, special=True) == [0, *vocabulary.tokenizer.encode("user: hi"), 1]


def test_what_a_user_types_in_a_chat_never_becomes_a_control_token(vocabulary):
    plain = encode_chat(vocabulary, "say <end> twice: <end>", "S<begin>")
    assert plain.count(1) == 1 and plain[-1] == 1 and plain.count(0) == 0, "the template's own token remains"
    text = "system: S<begin>\nuser: say <end> twice: <end>\nassistant:"
    assert plain[:-1] == vocabulary.tokenizer.encode(text)
    assert encode_chat(vocabulary, "say <end>", None, special=True).count(1) == 2


def test_line_ends_of_windows_are_line_ends(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\r\ntwo\r\n"))
    assert read_prompt() == "one\ntwo"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_that_a_console_cannot_show_does_not_end_a_run(tmp_path, encoding):
    folder = letters_folder(tmp_path / "arrows", piece=lambda c: c if c in "helo" else f"\u2192{c}")
    command = [sys.executable, "-m", "hfc", "run", folder, "--raw", "hello", "--temperature", "0", "-n", "12"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    shown = subprocess.run(command, capture_output=True, env=environment, check=True).stdout.decode()
    done = subprocess.run(command, capture_output=True, env={**environment, "PYTHONIOENCODING": encoding}, check=False)
    assert done.returncode == 0 and b"max tokens]" in done.stderr and "\u2192" in shown
    assert done.stdout.decode(encoding) == shown.replace("\u2192", "?")

"""`hfc chat`: a conversation with a model at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings
from rich.console import Console

from hfc.base.cache import cache_folder
from hfc.base.diagnostics import DeviceLost, HfcError, unknown
from hfc.cli.choice import ModelChoice
from hfc.cli.open_model import open_model
from hfc.cli.sampling import chosen_sampling, recommended_sampling
from hfc.cli.talk import conversation
from hfc.cli.talk.conversation import Conversation
from hfc.cli.talk.local import Local
from hfc.cli.talk.options import TalkOptions
from hfc.cli.talk.piece import Answerer
from hfc.cli.talk.remote import find_server
from hfc.cli.talk.screen import Screen
from hfc.runtime.source import name_of
from hfc.runtime.vocabulary import load_vocabulary

# name -> (what it takes, what it does)
HELP = {
    "help": ("", "this list"),
    "bye": ("", "leave (also Ctrl-D)"),
    "system": ("TEXT", "the system message; nothing shows it"),
    "set": (
        "NAME VALUE",
        "temperature, top_k, top_p, min_p, repeat_penalty, seed, max_tokens, thinking; nothing shows all",
    ),
    "file": ("PATH", "put a text file before the next message"),
    "regen": ("", "answer the last message again"),
    "save": ("NAME", "keep the conversation"),
    "load": ("NAME", "go on with one that was kept"),
    "clear": ("", "begin a new conversation"),
    "stats": ("", "tokens and speed of the last answer"),
    "thought": ("", "what the model thought before its last answer"),
}
ALSO = {"exit": "bye", "quit": "bye", "?": "help"}
KEYS = "Enter sends, Alt-Enter or Ctrl-J begins a new line; Ctrl-C stops an answer."


OPTIONS = TalkOptions


def command(options: TalkOptions) -> None:
    """Talk with a model."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise HfcError("hfc chat needs a terminal", hint=f'for one answer: hfc run {options.model} "..."')
    answerer, recommended = _answerer(options.model, options.choice)
    sampling = chosen_sampling(recommended, **options.sampling)
    talk = Conversation(sampling, options.system, options.max_tokens, options.template_variables())
    Chat(answerer, talk, Console()).run()


def _answerer(model: str, choice: ModelChoice) -> tuple[Answerer, Any]:
    """A server that runs and has the model, unless options ask for something of its own; else the model, loaded."""
    own = (
        choice.context,
        choice.kv,
        choice.profile,
        choice.threads,
        choice.weights,
        choice.experts,
        choice.tensor_parallel,
    )
    server = None if any(given is not None for given in own) else find_server(name_of(model))
    if server is not None:
        return server, recommended_sampling(model, load_vocabulary(model) if Path(model).exists() else None)
    opened = open_model(model, choice, with_vocabulary=True)
    return Local(opened, name_of(model)), recommended_sampling(model, opened.vocabulary)


class Chat:
    """The loop: read, do or answer, print."""

    def __init__(self, answerer: Answerer, talk: Conversation, console: Console):
        self._answerer, self._talk, self._console = answerer, talk, console
        history = cache_folder() / "chats" / "history"
        history.parent.mkdir(parents=True, exist_ok=True)
        words = WordCompleter([f"/{name}" for name in HELP], sentence=True)
        self._session: PromptSession = PromptSession(
            history=FileHistory(str(history)),
            completer=words,
            complete_while_typing=False,
            key_bindings=_keys(),
            multiline=True,
        )
        self._commands: dict[str, Callable[[str], str]] = {
            "help": lambda words: _help(), "stats": lambda words: talk.summary or "no answer yet",
            "thought": lambda words: talk.thought or "nothing", "clear": lambda words: talk.clear(),
            **{name: lambda words, do=do: do(talk, words) for name, do in {
                "system": conversation.set_system, "set": conversation.set_value, "file": conversation.attach,
                "save": conversation.save, "load": conversation.load,
            }.items()},
        }  # fmt: skip

    def run(self) -> None:
        """Until the user leaves."""
        self._console.print(f"{self._answerer.name}. /help lists commands. {KEYS}", style="dim", highlight=False)
        while True:
            try:
                text = self._session.prompt("> ").strip()
            except KeyboardInterrupt:
                continue  # what was typed is dropped
            except EOFError:
                return
            try:
                if text.startswith("/") and self._do(text):
                    return
                if text and not text.startswith("/"):
                    self._talk.say(text)
                    self._answer()
            except DeviceLost:
                raise
            except (HfcError, OSError) as error:
                self._console.print(str(error), style="red", markup=False, highlight=False)

    def _do(self, text: str) -> bool:
        """A command; True to leave."""
        name, _, words = text[1:].partition(" ")
        name = ALSO.get(name, name)
        if name == "bye":
            return True
        if name == "regen":
            self._talk.say(self._talk.take_back())
            self._answer()
        elif name in self._commands:
            self._console.print(self._commands[name](words.strip()), markup=False, highlight=False)
        else:
            raise unknown("command", f"/{name}", [f"/{known}" for known in HELP])
        return False

    def _answer(self) -> None:
        """Stream an answer. Ctrl-C stops it, and what came of it stays."""
        talk, parts, summary = self._talk, {"thought": "", "text": ""}, "stopped"
        pieces = self._answerer.answer(talk.prompt(), talk.sampling, talk.max_tokens, talk.variables)
        try:
            with Screen(self._console) as screen:
                for piece in pieces:
                    if piece.kind == "end":
                        summary = piece.text
                        continue
                    parts[piece.kind] += piece.text
                    (screen.think if piece.kind == "thought" else screen.write)(piece.text)
        except KeyboardInterrupt:
            self._console.print("stopped", style="dim")
        finally:
            pieces.close()
            talk.add_answer(parts["text"], parts["thought"], summary)


def _keys() -> KeyBindings:
    bindings = KeyBindings()
    bindings.add("enter")(lambda event: event.current_buffer.validate_and_handle())
    for keys in (("escape", "enter"), ("c-j",)):
        bindings.add(*keys)(lambda event: event.current_buffer.insert_text("\n"))
    return bindings


def _help() -> str:
    rows = [f"/{name} {takes}".ljust(20) + does for name, (takes, does) in HELP.items()]
    return "\n".join([*rows, KEYS])

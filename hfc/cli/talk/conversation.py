"""What is said, and the commands that change it: `/name words`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any

from hfc.base.cache import cache_folder
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.base.path_text import typed_path
from hfc.base.whole_file import write_whole
from hfc.runtime.sampler import Sampling

FILE_LIMIT = 4 << 20  # bytes of a file that is put into a message
SETTINGS = tuple(f.name for f in fields(Sampling))
SWITCHES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


@dataclass
class Conversation:
    """variables: for the template.  attached: text of files that the next message begins with.  thought, summary: of the last answer."""

    sampling: Sampling
    system: str | None = None
    max_tokens: int | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    attached: str = ""
    thought: str = ""
    summary: str = ""

    def prompt(self) -> list[dict[str, str]]:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.messages]

    def say(self, text: str) -> None:
        self.messages.append({"role": "user", "content": self.attached + text})
        self.attached = ""

    def add_answer(self, text: str, thought: str, summary: str) -> None:
        """An answer that was stopped counts as far as it came; one without any text takes its question back."""
        self.thought, self.summary = thought, summary
        if text:
            self.messages.append({"role": "assistant", "content": text})
        elif self.messages:
            self.messages.pop()

    def take_back(self) -> str:
        """Remove the last question and its answer; the question."""
        while self.messages:
            last = self.messages.pop()
            if last["role"] == "user":
                return last["content"]
        raise HfcError("there is nothing to answer again", hint="say something first")

    def clear(self) -> str:
        self.messages.clear()
        self.attached = ""
        return "a new conversation"


def set_system(talk: Conversation, words: str) -> str:
    if words:
        talk.system = words
    return f"system: {talk.system}" if talk.system else "no system message"


def save(talk: Conversation, words: str) -> str:
    path = _file_of(words)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"system": talk.system, "messages": talk.messages}, indent=1, ensure_ascii=False)
    write_whole(path, text.encode(), "the conversation")
    return f"saved {len(talk.messages)} messages to {path}"


def load(talk: Conversation, words: str) -> str:
    path = _file_of(words)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        messages = [{"role": str(m["role"]), "content": str(m["content"])} for m in found["messages"]]
    except FileNotFoundError:
        here = sorted(p.stem for p in _folder().glob("*.json"))
        raise HfcError(f"{path}: no such conversation", hint="saved are: " + (", ".join(here) or "none")) from None
    except (ValueError, KeyError, TypeError) as error:
        raise HfcError(f"{path}: not a saved conversation: {error}") from error
    talk.system, talk.messages = found.get("system"), messages
    return f"loaded {len(messages)} messages"


def set_value(talk: Conversation, words: str) -> str:
    """`/set temperature 0.2`, `/set thinking off`; nothing shows all."""
    name, _, value = words.partition(" ")
    if not name:
        shown = {n: getattr(talk.sampling, n) for n in SETTINGS} | {"max_tokens": talk.max_tokens} | talk.variables
        return "  ".join(f"{n}={v}" for n, v in shown.items())
    name, value = name.replace("-", "_"), value.strip()
    if not value:
        raise HfcError(f"/set {name}: a value is missing", hint=f"like /set {name} 0.5")
    if name in ("thinking", "enable_thinking"):
        if value not in SWITCHES:
            raise unknown("switch", value, SWITCHES)
        talk.variables["enable_thinking"] = SWITCHES[value]
    elif name == "max_tokens":
        talk.max_tokens = None if value == "none" else _number(name, value, int)
        if talk.max_tokens is not None and talk.max_tokens < 1:
            raise HfcError("max_tokens must be 1 or more, or none")
    elif name in SETTINGS:
        kind = float if isinstance(getattr(Sampling(), name), float) else int
        talk.sampling = replace(talk.sampling, **{name: None if value == "none" else _number(name, value, kind)})
    else:
        raise unknown("setting", name, [*SETTINGS, "max_tokens", "thinking"])
    return f"{name} = {value}"


def attach(talk: Conversation, words: str) -> str:
    path = typed_path(words)
    if not words or not path.is_file():
        raise HfcError(f"/file {words}: no such file")
    if path.stat().st_size > FILE_LIMIT:
        raise HfcError(f"{path}: {path.stat().st_size} bytes are too many (limit {FILE_LIMIT})")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise HfcError(f"{path}: not a text in UTF-8") from None
    talk.attached += f"{path.name}:\n\n{text.rstrip()}\n\n"
    return f"{path.name} goes with your next message ({len(text)} characters)"


def _number(name: str, value: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise HfcError(f"{name} is {value!r}; it must be a {'whole ' * (kind is int)}number") from None


def _folder() -> Path:
    return cache_folder() / "chats"


def _file_of(words: str) -> Path:
    """A plain name lies with the others; anything with a slash or an ending is a path."""
    if not words:
        raise HfcError("a name is missing", hint="like /save holidays")
    path = typed_path(words)
    return path if len(path.parts) > 1 or path.suffix else _folder() / f"{words}.json"

"""Chat messages to the prompt text that a checkpoint's own template makes of them.

The Jinja environment is the one that transformers gives templates: sandboxed, trimmed blocks, `raise_exception`,
`strftime_now`, `tojson` without HTML escapes, loop controls and the `generation` block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import jinja2.ext
import jinja2.sandbox
import msgspec

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, reason_of
from hfc.base.typed import typed
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.tokenizer_json import json_beside

RESERVED = frozenset((  # variables of a template that nobody else may set
    "messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "self",
))  # fmt: skip
Message = Mapping[str, Any]  # {"role": "user", "content": "..."}


@dataclass(frozen=True)
class ChatTemplate:
    """A parsed template. named: texts of tokens by the name that templates print them by ("bos_token", "pad_token")."""

    template: jinja2.Template
    named: Mapping[str, str] = field(default_factory=dict)

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        tools: Sequence[Any] | None = None,
        **variables: Any,
    ) -> str:
        """The prompt text; encode it with parse_special=True and frame=False. tools: function definitions, as OpenAI's."""
        try:
            return self.template.render(
                messages=list(messages),
                add_generation_prompt=add_generation_prompt,
                tools=tools,
                **{**self.named, "documents": None, **variables},
            )
        # A template runs as Python: what its expressions raise on messages that it does not expect comes through.
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError,
                RecursionError) as error:  # fmt: skip
            raise HfcError(
                f"the checkpoint's chat template refuses these messages: {error}",
                hint="change the messages (some templates take no system message), or use --raw to skip the template",
            ) from error


def chat_template(source: str | None, tokenizer: Tokenizer) -> ChatTemplate:
    """Parse a template's text; None means that the checkpoint has none."""
    if not source:
        raise HfcError(
            "the checkpoint has no chat template",
            hint="use --raw to continue a text as it stands (base models know nothing else)",
        )
    return ChatTemplate(parse_template(source), named_texts(tokenizer))


def parse_template(source: str) -> jinja2.Template:
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise HfcError(
            f"the checkpoint's chat template is not valid Jinja: line {error.lineno}: {error.message}"
        ) from error


def named_texts(tokenizer: Tokenizer) -> dict[str, str]:
    """What a template may print by name."""
    ends = {"bos_token": tokenizer.token_text(tokenizer.bos), "eos_token": tokenizer.token_text(tokenizer.eos)}
    return {**tokenizer.named, **ends}


class _Named(msgspec.Struct):
    """One of several templates of a tokenizer_config.json."""

    name: str
    template: str


def template_of_folder(folder: Path) -> str | None:
    """chat_template.jinja, else the entry of tokenizer_config.json (a text, or a list with one named "default")."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HfcError(f"{path}: cannot be read as UTF-8 text: {reason_of(error)}") from error
    path = folder / "tokenizer_config.json"
    found = typed(json_beside(path).get("chat_template"), str | list[_Named] | None, f"{path}: chat_template")
    if isinstance(found, list):
        return next((entry.template for entry in found if entry.name == "default"), None)
    return found


def template_of_file(path: Path) -> str:
    """A template that a user brings. HfcError for one that cannot be read or is no Jinja."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HfcError(f"--chat-template {path}: cannot be read as UTF-8 text: {reason_of(error)}") from error
    parse_template(text)
    return text


def template_of_gguf(metadata: Mapping[str, Any]) -> str | None:
    key = "tokenizer.chat_template"
    return typed(metadata.get(key), str | None, f"the GGUF file's {key}")


class _Generation(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}` marks the assistant's part for training; here it is only its body."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str):
    raise jinja2.TemplateError(message)

"""Text to token ids and back, whatever library does the splitting."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Protocol

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.token_table import TokenTable

# Tokens that end an answer in one chat format or another. Converters often name only one of them as "eos", and often type
# them as ordinary text: a token with such a text is a control token whatever the file calls it, and stops generation.
# Source: the models' own chat templates; llama.cpp's vocabulary goes by the same texts.
END_OF_TURN = frozenset({
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>",
    "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "<turn|>",
    "<|tool_response>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
})  # fmt: skip
# These are words of HTML or of other formats too: they end a text only where the file types them as control tokens.
END_IF_CONTROL = frozenset({"</s>", "<eos>"})


class Core(Protocol):
    """What a tokenizer library must offer: no begin or end tokens, only the text."""

    def encode(self, text: str, parse_special: bool) -> list[int]: ...

    def bytes_of(self, token: int) -> bytes:
        """The UTF-8 bytes that a token stands for: a part of a character for byte tokens; b"" for an unknown id."""
        ...


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary of `vocab` tokens.

    special: control tokens, id to text.  stop_ids: tokens that end a text.  named: what chat templates may print, by the
    name that they use ("pad_token").
    strip_space: the library puts a space before the first word, so a whole decoded text loses it again.
    """

    core: Core
    vocab: int
    special: Mapping[int, str]
    bos: int | None = None
    eos: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    stop_ids: frozenset[int] = frozenset()
    strip_space: bool = False
    named: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def table(self) -> TokenTable:
        """The bytes of every token, control tokens as they are written."""
        return TokenTable(self.bytes_of(i) for i in range(self.vocab))

    def bytes_of(self, token: int) -> bytes:
        return self.special[token].encode() if token in self.special else self.core.bytes_of(token)

    def encode(self, text: str, parse_special: bool = False, frame: bool = True) -> list[int]:
        """Token ids of a text.

        parse_special: "<|im_end|>" in the text is that token (rendered chat templates); else it is spelled out as
        text (what a user typed).  frame: add the begin and end tokens that the vocabulary asks for; one that the text
        begins with itself is not put before it again.
        """
        _check_text(text)
        ids = self.core.encode(text, parse_special)
        return self.framed(ids) if frame else ids

    def framed(self, ids: list[int]) -> list[int]:
        """With the begin and end tokens that the vocabulary asks for."""
        if self.add_bos and self.bos is not None and ids[:1] != [self.bos]:
            ids = [self.bos, *ids]
        if self.add_eos and self.eos is not None:
            ids = [*ids, self.eos]
        return ids

    def decode(self, ids: Iterable[int], keep_special: bool = False) -> str:
        """The text of all ids at once; invalid UTF-8 becomes U+FFFD."""
        stream = self.stream(keep_special)
        text = "".join([stream.push(i) for i in ids]) + stream.close()
        return text[1:] if self.strip_space and text.startswith(" ") else text

    def stream(self, keep_special: bool = False) -> Detokenizer:
        return Detokenizer(self, keep_special)

    def token_text(self, token: int | None) -> str:
        """The text of one token as a chat template wants it, "" for None."""
        return "" if token is None else self.special.get(token) or self.decode([token], keep_special=True)


class Detokenizer:
    """Turns ids into text one at a time; holds back bytes until they are whole characters."""

    def __init__(self, tokenizer: Tokenizer, keep_special: bool = False):
        self._tokenizer = tokenizer
        self._keep_special = keep_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that became whole with this token; "" while a character is still incomplete."""
        token = int(token)
        if token not in self._tokenizer.special:
            return self._utf8.decode(self._tokenizer.core.bytes_of(token))
        # A control token ends whatever character was incomplete.
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text + (self._tokenizer.special[token] if self._keep_special else "")

    def close(self) -> str:
        """What is left: U+FFFD for an incomplete character, else ""."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


def stop_ids_of(special: Mapping[int, str], *named: int | None) -> frozenset[int]:
    """The ids that end a text: those that the checkpoint names, and known end-of-turn tokens."""
    ends = END_OF_TURN | END_IF_CONTROL
    if {"<|return|>", "<|call|>"} <= set(special.values()):
        ends -= {"<|end|>"}  # Harmony: it ends a message, and the next message of the same turn follows
    return frozenset(i for i in named if i is not None) | {i for i, text in special.items() if text in ends}


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise HfcError(
            f"the text is not valid UTF-8 (character {error.start} is a lone byte or surrogate)",
            hint="give the text as UTF-8",
        ) from error

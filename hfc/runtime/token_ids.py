"""Token ids in place of text: a vocabulary for checkpoints without a tokenizer, and ids as they are typed."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.vocabulary import Vocabulary


class NoText:
    """A core whose tokens stand for nothing."""

    def encode(self, text: str, parse_special: bool) -> list[int]:
        raise HfcError("this model was opened without a tokenizer")

    def bytes_of(self, token: int) -> bytes:
        return b""


def vocabulary_without_text(vocab: int) -> Vocabulary:
    """No token of it ends a text."""
    return Vocabulary(Tokenizer(NoText(), vocab, {}), None)


def token_ids(text: str) -> tuple[int, ...]:
    """ "13, 59,42" -> (13, 59, 42)"""
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise HfcError(
            f"--tokens {text}: token ids are expected", hint="whole numbers with commas between: --tokens 13,59,42"
        )
    return tuple(map(int, words))

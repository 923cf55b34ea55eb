"""A SentencePiece vocabulary to ids and bytes, by Google's library, which only such vocabularies load."""

from __future__ import annotations

import re
from collections.abc import Mapping

import sentencepiece

from hfc.base.diagnostics import HfcError
from hfc.runtime.tokenizer_library import sentencepiece_bytes


def sentencepiece_core(proto: bytes, special: Mapping[int, str]) -> SentencePieceCore:
    """proto: a serialized model.  special: control tokens by id."""
    library = sentencepiece.SentencePieceProcessor()
    try:
        library.LoadFromSerializedProto(proto)
    except RuntimeError as error:
        raise HfcError(f"the GGUF file's SentencePiece vocabulary is not valid: {error}") from error
    return SentencePieceCore(library, special)


class SentencePieceCore:
    """`sentencepiece.SentencePieceProcessor`, which never finds control tokens in text: they are cut out before."""

    is_local = True  # our own model files normalize nothing

    def __init__(self, library: sentencepiece.SentencePieceProcessor, special: Mapping[int, str]):
        self._library = library
        self._special = {text: i for i, text in special.items()}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    def encode(self, text: str, parse_special: bool) -> list[int]:
        if not parse_special or self._cut is None:
            return self._library.encode(text)
        ids: list[int] = []
        for i, part in enumerate(self._cut.split(text)):
            if i % 2:
                ids.append(self._special[part])
            elif part:
                ids += self._library.encode(part)
        return ids

    def bytes_of(self, token: int) -> bytes:
        if not 0 <= token < self._library.vocab_size():
            return b""
        return sentencepiece_bytes(self._library.id_to_piece(token))

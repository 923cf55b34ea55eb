"""The library behind most tokenizers, Hugging Face `tokenizers` (BPE), and how it spells bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import tokenizers

from hfc.base.diagnostics import HfcError

SPACE = "\u2581"  # sentencepiece writes a space as this character
REMEMBERED = 8192  # tokens whose bytes are at hand: those of all of a large vocabulary take 35 MB
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@contextmanager
def native_calls(what: str) -> Iterator[None]:
    """Calls into the library `tokenizers`: whatever it raises is an HfcError.

    It raises plain Exceptions, and where Rust panics a PanicException, which is no Exception and has no name to import."""
    try:
        yield
    except HfcError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error)[:200]
        raise HfcError(
            f"{what}: {reason}", hint="the tokenizer's file is damaged; fetch the checkpoint again"
        ) from error


def byte_level_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in byte-level BPE (GPT-2's table): visible Latin-1 as itself, the rest from
    U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in visible]
    return {chr(b): b for b in visible} | {chr(0x100 + i): b for i, b in enumerate(hidden)}


_ALPHABET = byte_level_alphabet()


def byte_level_bytes(piece: str) -> bytes:
    """Bytes of a byte-level BPE piece; a piece with other characters is plain text (an added token)."""
    try:
        return bytes([_ALPHABET[c] for c in piece])
    except KeyError:
        return piece.encode("utf-8")


def sentencepiece_bytes(piece: str) -> bytes:
    """Bytes of a sentencepiece piece, `<0x0A>` being one byte."""
    match = _BYTE_TOKEN.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else piece.replace(SPACE, " ").encode("utf-8")


_LOCAL_NORMALIZERS = re.compile(
    r'(Sequence\(normalizers=\[|NFC\(\)|Prepend\(prepend="\u2581"\)|Replace\(pattern=String\(" "\), content="\u2581"\)|[], )])*'
)


class HuggingFaceCore:
    """`tokenizers.Tokenizer`; `byte_level` says how its pieces spell bytes.

    is_local: what becomes of a place in a text depends on its neighbourhood alone, and nothing is left out."""

    def __init__(self, library: tokenizers.Tokenizer, byte_level: bool):
        self._library = library
        self._bytes = byte_level_bytes if byte_level else sentencepiece_bytes
        added = {i: t.content for i, t in library.get_added_tokens_decoder().items()}
        rules = "" if library.normalizer is None else str(library.normalizer)
        self.is_local = _LOCAL_NORMALIZERS.fullmatch(rules) is not None and not any(
            t.lstrip or t.rstrip for t in library.get_added_tokens_decoder().values()
        )
        self._added = {
            i: text.encode("utf-8") if byte_level else sentencepiece_bytes(text) for i, text in added.items()
        }
        self._known = dict(self._added)  # and what was asked for since

    def encode(self, text: str, parse_special: bool) -> list[int]:
        self._library.encode_special_tokens = not parse_special
        with native_calls("the tokenizer cannot encode this text"):
            # The batch call lets other threads run meanwhile; `encode` holds the GIL, two seconds for a megabyte.
            return self._library.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def bytes_of(self, token: int) -> bytes:
        known = self._known.get(token)
        if known is None:  # asked again for every token of every answer
            if len(self._known) > len(self._added) + REMEMBERED:
                self._known = dict(self._added)
            piece = self._library.id_to_token(token) if token >= 0 else None
            known = self._known[token] = b"" if piece is None else self._bytes(piece)
        return known

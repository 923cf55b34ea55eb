"""Pieces, scores and types to the bytes of a sentencepiece model, so that Google's library does the work.

The wire format is protobuf; field numbers are those of sentencepiece_model.proto. Written by hand because the generated
module needs the protobuf package for five fields.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # piece types; GGUF's token types are the same
_BPE = 2  # TrainerSpec.ModelType


def model_proto(pieces: Sequence[str], scores: Sequence[float], types: Sequence[int], add_space: bool) -> bytes:
    """A BPE model without text normalization; bytes fall back to `<0x..>` pieces when the vocabulary has all 256.

    add_space: put a space before the first word of each text.
    """
    fields = [
        _message(1, _message(1, piece.encode("utf-8")) + _float(2, score) + _varint_field(3, kind))
        for piece, score, kind in zip(pieces, scores, types)
    ]
    has_bytes = sum(kind == BYTE for kind in types) == 256
    trainer = _varint_field(3, _BPE) + _varint_field(35, has_bytes)
    normalizer = (
        _message(1, b"identity")
        + _varint_field(3, add_space)
        + _varint_field(4, False)  # keep repeated spaces
        + _varint_field(5, True)  # write a space as U+2581
    )
    return b"".join(fields) + _message(2, trainer) + _message(3, normalizer)


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _message(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body

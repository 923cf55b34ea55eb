"""A GGUF's byte-level BPE for the few short texts of one command: the library is given only those tokens that a text can hold.

A token of a text's encoding, and all that it was merged from, is a part of the text; so are the tokens that any other merge would join
there. With every token of the vocabulary that is a part of the text, and every merge of such tokens, in order, the library gives the
same ids. Building it takes milliseconds where the whole vocabulary takes a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from tokenizers import normalizers

from hfc.formats.checkpoint.gguf import Metadata, TextTable
from hfc.runtime.pretokenizers import PreTokenizer, pre_tokenizer
from hfc.runtime.sentencepiece_proto import CONTROL, UNKNOWN, USER_DEFINED
from hfc.runtime.tokenizer import END_OF_TURN, Core, Tokenizer
from hfc.runtime.tokenizer_gguf import KEY, byte_level_core, finished, merge_pairs, tokenizer_from_gguf
from hfc.runtime.tokenizer_library import byte_level_alphabet, byte_level_bytes

LONGEST = 4096  # characters of a text
MOST_TEXTS = 8  # after which the whole vocabulary is worth its time
MOST_SPECIAL = 4096  # tokens that every library gets
HEAD = 8  # bytes of a token that are compared in numpy
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(HEAD + 1)], np.uint64)
_SPELLED = {byte: char for char, byte in byte_level_alphabet().items()}


class BriefCore:
    """special, found_anywhere: id to text.  whole: the library of the whole vocabulary."""

    is_local = False

    def __init__(
        self, rule: PreTokenizer, tokens: TextTable, merges: TextTable, special: Mapping[int, str], found_anywhere: Mapping[int, str],
        whole: Callable[[], Core],
    ):  # fmt: skip
        self._rule, self._tokens, self._merges, self._make_whole = rule, tokens, merges, whole
        self._special, self._anywhere = list(special.values()), list(found_anywhere.values())
        last = {text: i for i, text in sorted({**special, **found_anywhere}.items())}
        self._added = {i: text.encode() for text, i in last.items()}
        self._whole: Core | None = None
        self._texts = 0

    def encode(self, text: str, parse_special: bool) -> list[int]:
        return (self._whole or self._brief(text) or self._all()).encode(text, parse_special)

    def bytes_of(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token]
        return byte_level_bytes(self._tokens[token]) if 0 <= token < len(self._tokens) else b""

    def _all(self) -> Core:
        self._whole = self._make_whole()
        return self._whole

    def _brief(self, text: str) -> Core | None:
        self._texts += 1
        is_changed = self._rule.nfc and normalizers.NFC().normalize_str(text) != text  # of what is NFC all parts are
        if len(text) > LONGEST or self._texts > MOST_TEXTS or is_changed:
            return None
        spelled = "".join(_SPELLED[byte] for byte in text.encode())
        held = "\0".join([spelled, *self._special, *self._anywhere]).encode()
        vocab = {self._tokens[i]: i for i in held_by(held, self._tokens)}
        merges = merge_pairs((self._merges[i] for i in held_by(held, self._merges, b" ")), vocab)
        return byte_level_core(self._rule, vocab, merges, self._special, self._anywhere) if merges else None


def brief_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer | None:
    """None for what has another kind of vocabulary, and for what `tokenizer_from_gguf` would refuse: it says why."""
    if not isinstance(metadata, Metadata) or metadata.get(KEY + "model") != "gpt2":
        return None
    tokens, merges = metadata.texts(KEY + "tokens"), metadata.texts(KEY + "merges")
    kinds = np.asarray(metadata.get(KEY + "token_type", ()))
    if not tokens or not merges or kinds.shape != (len(tokens),) or kinds.dtype.kind not in "iu":
        return None
    if not (is_utf8(tokens) and is_utf8(merges)) or kinds.min() < 0 or kinds.max() > 255:
        return None
    ends = {i for i in held_by("\0".join(END_OF_TURN).encode(), tokens) if tokens[i] in END_OF_TURN}
    special = _texts(tokens, {*np.flatnonzero((kinds == CONTROL) | (kinds == UNKNOWN)).tolist(), *ends})
    anywhere = {
        i: text
        for i, text in _texts(tokens, np.flatnonzero(kinds == USER_DEFINED).tolist()).items()
        if i not in ends and text
    }
    if len(special) + len(anywhere) > MOST_SPECIAL:
        return None
    rule = pre_tokenizer(metadata.get(KEY + "pre") or "default")
    plain = {
        key: metadata[key] for key in metadata if key.startswith(KEY) and key not in (KEY + "tokens", KEY + "merges")
    }

    def whole() -> Core:
        return tokenizer_from_gguf({**plain, KEY + "tokens": list(tokens), KEY + "merges": list(merges)}).core

    core = BriefCore(rule, tokens, merges, special, anywhere, whole)
    return finished(metadata, core, tokens, special, rule.add_bos)


def held_by(text: bytes, table: TextTable, end: bytes = b"") -> list[int]:
    """Which strings of a table are parts of a text; with `end`: those of which both sides of it are, and what they make together."""
    heads = _heads(table.data)[table.starts] if len(table) else np.empty(0, np.uint64)
    sizes = np.minimum(table.lengths, HEAD)
    if end:
        for at in range(HEAD - 1, -1, -1):
            sizes[((heads >> np.uint64(8 * at)) & np.uint64(255)) == end[0]] = at
    heads &= _MASKS[sizes]
    own, found = _heads(text), []
    for size in range(1, HEAD + 1):
        known = np.unique(own[: max(0, len(text) - size + 1)] & _MASKS[size])
        at = np.flatnonzero(sizes == size)
        if len(known):
            places = np.minimum(np.searchsorted(known, heads[at]), len(known) - 1)
            found.append(at[known[places] == heads[at]])
    candidates = np.sort(np.concatenate(found)).tolist() if found else []
    if not end:
        return [i for i in candidates if table.lengths[i] <= HEAD or table.raw(i) in text]
    return [i for i in candidates if _joins(table.raw(i), end, text)]


def _joins(merge: bytes, end: bytes, text: bytes) -> bool:
    left, _, right = merge.partition(end)
    return left + right in text


def _heads(data: bytes) -> np.ndarray:
    """u64 [len(data)]: the eight bytes from each place on, zeros after the end."""
    padded = np.frombuffer(data + bytes(HEAD), np.uint8)
    return np.ndarray((len(data),), "<u8", padded, strides=(1,))


def is_utf8(table: TextTable) -> bool:
    """Of each string; the lengths between them become zeros, which no character goes on over."""
    data = np.frombuffer(table.data, np.uint8).copy()
    data[table.starts - HEAD] = 0
    try:
        data.tobytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def _texts(tokens: TextTable, ids: Iterable[int]) -> dict[int, str]:
    return {i: tokens[i] for i in sorted(ids)}

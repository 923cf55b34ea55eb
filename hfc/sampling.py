"""What a sampler needs from the host for one row: the border between `runtime/sampler.py` and the device's sample kernel."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Protocol

import numpy as np

PENALIZED = 256  # most distinct tokens that penalties can look at on a device
BIASED = 64  # most tokens whose logits a device can add to
HEAD_WORDS = 16
BIAS_WORDS = HEAD_WORDS + 2 * PENALIZED  # where the pairs of biased tokens begin
ROW_WORDS = BIAS_WORDS + 2 * BIASED
_HEAD = struct.Struct("=fifffffiQii")  # one call: numpy takes microseconds for each word


def mask_words(vocab: int) -> int:
    """i32 words of a mask: one bit a token, the lowest first."""
    return -(-vocab // 32)


class TokenLimits:
    """What restricts one choice: `bias` is added to logits of some tokens, then only tokens of `mask` may be chosen.

    mask: u32 [mask_words], None allows every token."""

    def __init__(self, vocab: int):
        self.vocab, self.bias = vocab, dict[int, float]()
        self.mask: np.ndarray | None = None

    def add(self, token: int, value: float) -> None:
        self.bias[token] = self.bias.get(token, 0.0) + value

    def allow_only(self, mask: np.ndarray) -> None:
        """mask: u32 [mask_words] of tokens that are not forbidden by it; taken over."""
        self.mask = mask if self.mask is None else self.mask & mask

    def forbid(self, tokens: Sequence[int] | np.ndarray) -> None:
        is_allowed = np.ones(32 * mask_words(self.vocab), bool)
        is_allowed[np.asarray(tokens, np.int64)] = False
        self.allow_only(np.packbits(is_allowed, bitorder="little").view("<u4").astype(np.uint32, copy=False))

    def force(self, token: int) -> None:
        """Only this token."""
        self.mask, self.bias = np.zeros(mask_words(self.vocab), np.uint32), {}
        self.mask[token >> 5] = np.uint32(1 << (token & 31))

    def encode(self, row: np.ndarray, mask: np.ndarray, mask_at: int) -> None:
        """Fill in the rest of an encoded row, i32 [ROW_WORDS], and i32 [mask_words], which lies `mask_at` words after the
        first row."""
        assert len(self.bias) <= BIASED, "more logits to bias than a device takes"
        row[11] = len(self.bias)
        pairs = row[BIAS_WORDS : BIAS_WORDS + 2 * len(self.bias)].reshape(-1, 2)
        pairs[:, 0] = list(self.bias)
        pairs[:, 1] = np.array(list(self.bias.values()), np.float32).view(np.int32)
        if self.mask is not None:
            row[10] = mask_at
            mask[:] = self.mask.view(np.int32)


class Chooser(Protocol):
    """What encodes one row: a sampler, and what limits its choice."""

    limits: TokenLimits | None

    def encode(self, row: np.ndarray) -> None: ...


Fixed = tuple[float, int, float, float, float, float, float]


def fixed_words(
    temperature: float, top_k: int, top_p: float, min_p: float, penalties: tuple[float, float, float]
) -> Fixed:
    """What stands at the beginning of every row of a sequence."""
    return (temperature, top_k, top_p, math.log(min_p) if min_p > 0 else -math.inf, *penalties)


def encode_row(out: np.ndarray, fixed: Fixed, random_bits: int, counts: dict[int, int]) -> None:
    """Fill one row of i32 [ROW_WORDS]. counts: of tokens that penalties look at.

    Words: temperature, top_k, top_p, lowest kept logit relative to the largest (log min_p), the three penalties (repeat,
    frequency, presence), number of penalized tokens, 64 random bits, where the mask lies (words after the first row, 0: none),
    number of biased tokens; from HEAD_WORDS on pairs (token, how often it came lately), from BIAS_WORDS on pairs (token,
    what its logit grows by).
    """
    latest = list(counts.items())[-PENALIZED:] if counts else ()
    _HEAD.pack_into(out, 0, *fixed, len(latest), random_bits, 0, 0)
    if latest:
        out[HEAD_WORDS : HEAD_WORDS + 2 * len(latest)] = np.array(latest, np.int32).reshape(-1)


def sampling_words(max_outputs: int, vocab: int) -> int:
    """i32 words of the parameters of every output row, and after them of a mask for each."""
    return max_outputs * (ROW_WORDS + mask_words(vocab))


def encode_rows(out: np.ndarray, samplers: Sequence[Chooser], max_outputs: int, vocab: int) -> int:
    """Fill i32 [sampling_words], a row for each sampler; how many words of it a device needs."""
    border = max_outputs * ROW_WORDS
    rows, masks = out[:border].reshape(max_outputs, ROW_WORDS), out[border:].reshape(max_outputs, mask_words(vocab))
    has_mask = False
    for i, (row, mask, sampler) in enumerate(zip(rows, masks, samplers)):
        sampler.encode(row)
        if sampler.limits is not None:
            sampler.limits.encode(row, mask, border + i * mask.size)
            has_mask |= sampler.limits.mask is not None
    return border + len(samplers) * mask_words(vocab) if has_mask else len(samplers) * ROW_WORDS


def random_bits(seed: int, draw: int) -> int:
    """64 random bits, number `draw` of the sequence `seed`: splitmix64 (Steele, Lea and Flood 2014). Same on every device."""
    mask = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + (draw + 1) * 0xD1342543DE82EF95) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & mask
    return x ^ (x >> 31)

"""What a sampler needs from the host for one row: the border between `runtime/sampler.py` and the device's sample kernel."""

from __future__ import annotations

import numpy as np

PENALIZED = 256  # most distinct tokens that penalties can look at on a device
HEAD_WORDS = 16
ROW_WORDS = HEAD_WORDS + 2 * PENALIZED


def encode_row(
    out: np.ndarray,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    penalties: tuple[float, float, float],
    random_bits: int,
    counts: dict[int, int],
) -> None:
    """Fill one row of i32 [ROW_WORDS].

    Words: temperature, top_k, top_p, lowest kept logit relative to the largest (log min_p), the three penalties (repeat,
    frequency, presence), number of penalized tokens, 64 random bits; then pairs (token, how often it came lately).
    """
    floats = out.view(np.float32)
    floats[0], out[1], floats[2] = temperature, top_k, top_p
    floats[3] = np.log(min_p) if min_p > 0 else -np.inf
    floats[4:7] = penalties
    latest = list(counts.items())[-PENALIZED:]
    out[7] = len(latest)
    out[8:10] = np.array([random_bits], np.uint64).view(np.int32)
    if latest:
        out[HEAD_WORDS : HEAD_WORDS + 2 * len(latest)] = np.array(latest, np.int32).reshape(-1)


def random_bits(seed: int, draw: int) -> int:
    """64 random bits, number `draw` of the sequence `seed`: splitmix64 (Steele, Lea and Flood 2014). Same on every device."""
    mask = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + (draw + 1) * 0xD1342543DE82EF95) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & mask
    return x ^ (x >> 31)

"""The signed Walsh-Hadamard rotation of 256 elements: weights rotated offline meet activations rotated at run time.

    R = diag(s2) H diag(s1) / 16        H: Hadamard matrix in natural order, s1 and s2: signs from a generator

R is orthogonal, so (R w) · (R x) = w · x, and outliers of a group are spread over all of its elements. Signs and seeds are
those of hipfire's MQ formats (main.rs, gen_fwht_signs).
"""

from __future__ import annotations

from functools import cache

import numpy as np

GROUP = 256
SEEDS = (42, 1042)  # of s1 and s2


@cache
def signs(seed: int, count: int = GROUP) -> np.ndarray:
    """+1 and -1, f32 [count]: bit 16 of a 31-bit linear congruential generator, updated before it is read."""
    state, found = seed, np.empty(count, np.float32)
    for i in range(count):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        found[i] = 1 if state >> 16 & 1 else -1
    found.flags.writeable = False
    return found


@cache
def matrix(count: int = GROUP) -> np.ndarray:
    """R, f32 [count, count]; count is a power of two. R has 1 / sqrt(count) in place of 1 / 16."""
    hadamard = np.ones((1, 1), np.float32)
    while len(hadamard) < count:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    made = signs(SEEDS[1], count)[:, None] * hadamard * signs(SEEDS[0], count) / np.float32(np.sqrt(count))
    made.flags.writeable = False
    return made


def rotate(x: np.ndarray, count: int = GROUP) -> np.ndarray:
    """R times every `count` elements of the last axis, f32 [..., K]; K is a multiple of `count`."""
    return (x.reshape(-1, count) @ matrix(count).T).reshape(x.shape)


def rotate_back(x: np.ndarray, count: int = GROUP) -> np.ndarray:
    """The inverse of `rotate`, f32 [..., K]."""
    return (x.reshape(-1, count) @ matrix(count)).reshape(x.shape)

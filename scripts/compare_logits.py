#!/usr/bin/env python3
"""Compares two files of teacher-forced logits: top-1 agreement, perplexity of each, KL divergence.

usage: compare_logits.py OURS.npy THEIRS.npy TOKENS.npy      logits f32 [T, vocab] of the tokens i32 [T]
"""

import sys

import numpy as np

from hfc.quality import Tally

ROWS = 256  # at a time: f64 rows of a large vocabulary are big


def compare(ours: np.ndarray, theirs: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Means over positions; perplexity over positions 1..T-1."""
    tally = Tally()
    for start in range(0, len(tokens), ROWS):
        rows = slice(start, start + ROWS)
        tally.add(ours[rows], tokens[start + 1 : start + 1 + ROWS], theirs[rows])
    return tally.report()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    for key, value in compare(*(np.load(path, mmap_mode="r") for path in sys.argv[1:])).items():
        print(f"{key:24} {value:.6g}")

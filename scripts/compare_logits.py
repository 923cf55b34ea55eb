#!/usr/bin/env python3
"""Compares two files of teacher-forced logits: top-1 agreement, perplexity of each, KL divergence.

usage: compare_logits.py OURS.npy THEIRS.npy TOKENS.npy      logits f32 [T, vocab] of the tokens i32 [T]
"""

import sys

import numpy as np

ROWS = 256  # at a time: f64 rows of a large vocabulary are big


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def compare(ours: np.ndarray, theirs: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Means over positions; perplexity over positions 1..T-1."""
    agree, divergence, nll = [], [], {"ours": [], "theirs": []}
    for start in range(0, len(tokens), ROWS):
        a, b = log_softmax(ours[start : start + ROWS]), log_softmax(theirs[start : start + ROWS])
        agree.append(a.argmax(-1) == b.argmax(-1))
        divergence.append((np.exp(b) * (b - a)).sum(-1))
        following = tokens[start + 1 : start + 1 + ROWS]
        for name, x in (("ours", a), ("theirs", b)):
            nll[name].append(-x[np.arange(len(following)), following])
    perplexity = {name: float(np.exp(np.concatenate(parts).mean())) for name, parts in nll.items()}
    return {
        "tokens": len(tokens),
        "top1_agreement": float(np.concatenate(agree).mean()),
        "kl_mean": float(np.concatenate(divergence).mean()),
        "perplexity_ours": perplexity["ours"],
        "perplexity_theirs": perplexity["theirs"],
        "perplexity_change": perplexity["ours"] / perplexity["theirs"] - 1,
    }


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    for key, value in compare(*(np.load(path, mmap_mode="r") for path in sys.argv[1:])).items():
        print(f"{key:20} {value:.6g}")

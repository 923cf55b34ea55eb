"""The detector of loops: what it must mark and what it must not."""

import numpy as np
import pytest

from hfc.runtime.speculate.repetition import is_degenerate, repeated_share

RNG = np.random.default_rng(0)
FRESH = RNG.integers(0, 500, 200).tolist()
CALLS = [t for i in range(30) for t in (7, 8, 9, 10, 100 + i, 11)]  # lines that differ in one word


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (FRESH, False),
        ([], False),
        ([5] * 10, False),  # too short to tell
        ([5] * 30, True),
        (FRESH + [1, 2, 3] * 8, True),
        (FRESH + FRESH[:40], False),  # quotes itself once
        (FRESH[:40] * 5, True),
        (CALLS, False),
        (FRESH[:30] + (FRESH[30:45] + [99]) * 12 + [1, 2], True),  # left the loop at the last moment
    ],
)  # fmt: skip
def test_loops_are_marked(tokens, expected):
    assert is_degenerate(tokens) is expected


def test_the_share_counts_what_occurred_before():
    assert repeated_share(FRESH) == 0.0
    assert repeated_share(FRESH[:20] + FRESH[:20]) == pytest.approx(13 / 33)

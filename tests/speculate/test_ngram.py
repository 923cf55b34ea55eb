"""Prompt lookup: what it finds, what it never finds, and that its index grows as the sequence does."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfc.runtime.speculate.ngram import SIZES, NgramDrafter, _grade, _hash, _hashes

tokens = st.lists(st.integers(0, 4), max_size=60)


def looked_up(history, most):
    """The definition: the longest n-gram of SIZES that ends the history and occurred before; its latest such place."""
    for n in SIZES:
        for at in range(len(history) - 1, n - 1, -1):
            if history[at - n : at] == history[-n:]:
                period = len(history) - at
                return [history[at + i % period] for i in range(most)]
    return None


@given(tokens, st.lists(st.integers(1, 7), max_size=30), st.integers(1, 20))
@settings(deadline=None)
def test_it_is_the_definition_however_the_sequence_grows(history, parts, most):
    drafter, at = NgramDrafter(), 0
    for part in [*parts, 100]:
        drafter.extend(history[at : at + part])
        at = min(at + part, len(history))
        found = drafter.draft(most)
        assert (list(found.tokens) if found else None) == looked_up(history[:at], most)


def test_a_repetition_goes_on_beyond_the_end():
    assert NgramDrafter([7, 1, 2, 3, 1, 2, 3, 1, 2]).draft(8).tokens == (3, 1, 2, 3, 1, 2, 3, 1)
    assert NgramDrafter([5, 5, 5, 5]).draft(3).tokens == (5, 5, 5)


def test_new_text_has_no_draft():
    assert NgramDrafter(range(100)).draft(4) is None and NgramDrafter().draft(4) is None
    assert NgramDrafter([1, 2, 3, 1, 2]).draft(0) is None


def test_longer_agreement_has_a_better_grade():
    grades = [
        NgramDrafter([*range(100, 100 + n), 1, 50, *range(100, 100 + n)]).draft(4).grade
        for n in (2, 3, 5, 8, 12, 20, 60)
    ]
    assert grades == [0, 1, 2, 3, 4, 5, 6]
    assert _grade([1, 2, 1, 2], 2) == 0


def test_hashes_of_many_are_the_hashes_of_each():
    ids = np.random.default_rng(0).integers(0, 248_320, 500).tolist()
    for n in SIZES:
        assert _hashes(ids, n) == [_hash(ids[i : i + n]) for i in range(len(ids) - n + 1)]


@pytest.mark.parametrize("length", [1_000, 100_000])
def test_a_draft_costs_the_same_at_any_length(length):
    drafter = NgramDrafter(np.random.default_rng(1).integers(0, 50_000, length).tolist() + [1, 2, 3, 4, 1, 2, 3])
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        drafter.extend([9, 1, 2, 3])
        assert drafter.draft(15)
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3, "a look-up that walks through the history takes milliseconds"

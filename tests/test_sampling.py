"""The border between the host's sampler and a device's: random bits, encoded rows, and what comes back."""

import numpy as np
import pytest

from hfc.base.diagnostics import HfcError
from hfc.runtime.sampler import NOT_NUMBERS, Sampler, Sampling
from hfc.sampling import HEAD_WORDS, PENALIZED, ROW_WORDS, random_bits


def test_random_bits_are_uniform_and_differ_by_seed_and_draw():
    bits = np.array([[random_bits(seed, draw) for draw in range(256)] for seed in range(64)], np.uint64)
    assert len(np.unique(bits)) == bits.size
    uniform = bits.astype(np.float64) / 2.0**64
    assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.var() - 1 / 12) < 0.005
    ones = np.unpackbits(bits.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.005
    assert random_bits(0, 0) == random_bits(0, 0) != random_bits(1, 0)


def test_an_encoded_row_says_what_was_asked():
    row = np.zeros(ROW_WORDS, np.int32)
    Sampler(Sampling(0.5, 7, 0.9, 0.25, 1.5, 0.25, 0.125, seed=3), [4, 9, 4]).encode(row)
    floats = row.view(np.float32)
    assert (floats[0], row[1], floats[2]) == (0.5, 7, np.float32(0.9)) and floats[3] == np.float32(np.log(0.25))
    assert floats[4:7].tolist() == [1.5, 0.25, 0.125]
    assert row[7] == 2 and row[HEAD_WORDS : HEAD_WORDS + 4].tolist() == [4, 2, 9, 1]
    assert row[8:10].view(np.uint64)[0] == random_bits(3, 0)


def test_without_penalties_no_tokens_travel_and_no_more_than_fit():
    row = np.zeros(ROW_WORDS, np.int32)
    Sampler(Sampling(min_p=0, seed=1), [1, 2, 3]).encode(row)
    assert row[7] == 0 and row.view(np.float32)[3] == -np.inf
    Sampler(Sampling(repeat_penalty=2, repeat_window=1000, seed=1), range(1000)).encode(row)
    assert row[7] == PENALIZED and row[HEAD_WORDS::2][:PENALIZED].tolist() == list(range(1000 - PENALIZED, 1000))


def test_a_device_that_saw_no_numbers_is_an_error():
    with pytest.raises(HfcError, match="not numbers"):
        Sampler(Sampling()).accept(NOT_NUMBERS)


def test_a_choice_depends_on_the_seed_and_its_place_only():
    logits = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    first, second = (Sampler(Sampling(temperature=1, seed=5)) for _ in range(2))
    drawn = [first.choose(logits) for _ in range(20)]
    assert drawn == [second.choose(logits) for _ in range(20)] and len(set(drawn)) > 3

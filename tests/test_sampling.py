"""The border between the host's sampler and a device's: random bits, encoded rows, and what comes back."""

import numpy as np
import pytest
from fake_driver import FakeDriver
from model_reference import MODELS

from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, compile_model
from hfc.pointer import PARAMETERS
from hfc.runtime import executor
from hfc.runtime.executor import load
from hfc.runtime.sampler import NOT_NUMBERS, Sampler, Sampling
from hfc.runtime.speculate.accept import RowSampler
from hfc.sampling import (
    BIAS_WORDS,
    HEAD_WORDS,
    PENALIZED,
    ROW_WORDS,
    TokenLimits,
    encode_rows,
    mask_words,
    random_bits,
    sampling_words,
)
from hfc.step import Step


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


def test_limits_lie_where_the_row_says():
    limits = TokenLimits(100)
    limits.add(7, 1.5)
    limits.add(7, 1.0)
    limits.add(99, -2.0)
    limits.forbid([3, 64])
    limits.allow_only(np.array([0xFF, 0, 0xFFFFFFFF, 0], np.uint32))
    samplers = [RowSampler(Sampler(Sampling(seed=1)), (), given) for given in (None, limits)]
    out = np.full(sampling_words(4, 100), -1, np.int32)
    used = encode_rows(out, samplers, 4, 100)
    assert used == 4 * ROW_WORDS + 2 * mask_words(100) and out[10] == 0 and out[11] == 0
    row = out[ROW_WORDS : 2 * ROW_WORDS]
    mask = out[row[10] : row[10] + mask_words(100)].view(np.uint32)
    assert mask.tolist() == [0xFF & ~8, 0, 0xFFFFFFFE, 0] and row[10] + mask_words(100) <= used
    pairs = row[BIAS_WORDS : BIAS_WORDS + 2 * row[11]].reshape(-1, 2)
    assert pairs[:, 0].tolist() == [7, 99] and pairs[:, 1].copy().view(np.float32).tolist() == [2.5, -2.0]
    assert encode_rows(out, samplers[:1], 4, 100) == ROW_WORDS, "masks do not travel when there are none"


def test_limits_reach_a_gpu(monkeypatch):
    driver = FakeDriver()
    monkeypatch.setitem(executor.OPENERS, "cuda", lambda index: driver)
    model = load(
        compile_model(MODELS / "llama", ["sm_90"], CompileOptions(ctx=64, max_rows=16)),
        "cuda",
        weights=MODELS / "llama",
    )
    limits = TokenLimits(model.vocab)
    limits.force(77)
    model.next_tokens(
        Step.single([1, 2, 3], outputs="last"), [RowSampler(Sampler(Sampling(temperature=0)), (), limits)]
    )
    words = np.empty(sampling_words(model.max_outputs, model.vocab), np.int32)
    driver.copy_out(words.view(np.uint8), model.address(PARAMETERS))
    mask = words[words[10] : words[10] + mask_words(model.vocab)].view(np.uint8)
    assert np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist() == [77]
    model.close()

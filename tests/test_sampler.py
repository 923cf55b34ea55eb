"""Sampling: exact filters, exact probabilities, repeatable draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hfc.base.diagnostics import HfcError
from hfc.runtime.sampler import Sampler, Sampling, distribution, penalize

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
rows = hnp.arrays(np.float32, st.integers(2, 60), elements=st.floats(-20, 20, width=32))


def softmax(x):
    e = np.exp(np.asarray(x, np.float64) - np.max(x))
    return e / e.sum()


@given(rows, st.floats(0.05, 5))
@settings(deadline=None)
def test_without_filters_it_is_the_softmax(logits, temperature):
    tokens, probabilities = distribution(logits, Sampling(**OFF | {"temperature": temperature}))
    assert sorted(tokens) == list(range(len(logits)))
    np.testing.assert_allclose(
        probabilities, softmax(logits.astype(np.float64) / temperature)[tokens], rtol=1e-9, atol=0
    )


@given(rows, st.integers(0, 70), st.floats(0.01, 1), st.floats(0, 1))
@settings(deadline=None)
def test_each_filter_keeps_what_its_definition_says(logits, top_k, top_p, min_p):
    sampling = Sampling(temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
    tokens, probabilities = distribution(logits, sampling)
    order = np.lexsort((np.arange(len(logits)), -logits))[: top_k or None]
    plain = softmax(logits[order])
    before = np.cumsum(plain) - plain
    expected = order[((before < top_p) | (top_p == 1)) & (plain >= min_p * plain[0])]
    assert list(tokens) == list(expected)
    assert tokens[0] == np.argmax(logits) and probabilities.sum() == pytest.approx(1)


def test_draws_follow_the_distribution():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(Sampling(**OFF, seed=3))
    counts = np.bincount([sampler.choose(logits) for _ in range(20000)], minlength=4) / 20000
    # four standard deviations of a share of 0.5 in 20,000 draws
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.15, 0.05], atol=4 * 0.5 / np.sqrt(20000))


def test_draws_from_a_wide_row_stay_inside_top_k():
    logits = np.random.default_rng(0).normal(size=50000).astype(np.float32)
    best = set(np.argsort(-logits)[:40])
    sampler = Sampler(Sampling(temperature=5.0, seed=1))
    assert {sampler.choose(logits) for _ in range(200)} <= best


def test_a_seed_repeats_and_another_differs():
    logits = np.zeros(1000, np.float32)

    def draw(seed):
        sampler = Sampler(Sampling(**OFF, seed=seed))
        return [sampler.choose(logits) for _ in range(10)]

    assert draw(5) == draw(5) != draw(6)


def test_greedy_takes_the_lowest_id_of_equals():
    assert Sampler(Sampling(temperature=0)).choose(np.array([1, 3, 3, 2], np.float32)) == 1


def test_penalties_are_the_documented_formula():
    logits = np.array([2.0, -2.0, 1.0, 0.5], np.float32)
    out = penalize(logits, [0, 1, 1], Sampling(repeat_penalty=2.0, frequency_penalty=0.25, presence_penalty=0.125))
    np.testing.assert_array_equal(out, np.array([2 / 2 - 0.25 - 0.125, -2 * 2 - 0.5 - 0.125, 1.0, 0.5], np.float32))
    assert logits[0] == 2.0, "the model's logits are not changed"


def test_penalties_see_the_prompt_and_forget_after_the_window():
    logits = np.array([1.0, 0.9], np.float32)
    sampling = Sampling(temperature=0, repeat_penalty=2.0, repeat_window=2)
    assert Sampler(sampling, [0]).choose(logits) == 1
    sampler = Sampler(sampling, [0, 1, 1])
    assert [sampler.choose(logits) for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -0.1, "temperature is -0.1; it must be 0"),
        ("temperature", float("nan"), "temperature is nan"),
        ("top_k", -1, "top-k is -1"),
        ("top_p", 0.0, "top-p is 0.0; it must be above 0"),
        ("top_p", 1.5, "top-p is 1.5"),
        ("min_p", 2.0, "min-p is 2.0"),
        ("repeat_penalty", 0.0, "repeat-penalty is 0.0"),
        ("seed", -4, "seed is -4"),
    ],
)
def test_values_out_of_range_are_refused(name, value, message):
    with pytest.raises(HfcError, match=message):
        Sampling(**{name: value})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_stop_the_run(bad):
    with pytest.raises(HfcError, match="not numbers"):
        Sampler(Sampling(temperature=0)).choose(np.array([0.0, bad], np.float32))


def test_a_temperature_next_to_zero_takes_the_largest():
    logits = np.random.default_rng(3).standard_normal(50).astype(np.float32)
    with np.errstate(all="raise", over="ignore", under="ignore"):
        chosen = {
            Sampler(Sampling(temperature=1e-310, top_k=0, top_p=1, min_p=0, seed=seed)).choose(logits)
            for seed in range(9)
        }
    assert chosen == {int(np.argmax(logits))}

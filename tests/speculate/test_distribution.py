"""Sampled text of a real plan follows the softmax of its logits, with drafts as without: chi-square over texts of four tokens."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from model_reference import MODELS
from speculation_cases import Always, Guesses, tokens_of

from hfc.compiler import CompileOptions, compile_model
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.speculator import Speculation
from hfc.step import JOURNAL_ROWS, Step

PROMPT, KEPT, LENGTH, TEXTS, TEMPERATURE = (5, 17, 60, 9), 3, 4, 4000, 2.0
LIMIT = 4.0  # standard deviations: one run of 30,000 is further out by chance, and seeds are fixed


@pytest.fixture(scope="module")
def model():
    """Vocabulary 128, of which top-k leaves KEPT tokens at each place."""
    return load(
        compile_model(MODELS / "qwen3_5_text", ["host"], CompileOptions(ctx=32, journal_rows=JOURNAL_ROWS)), "host", 1
    )


def kept(model, tokens):
    """The tokens that may follow, and their probabilities."""
    logits = model.forward(Step.single(np.array(tokens, np.int32), outputs="last"))[0].astype(np.float64)
    best = np.argsort(-logits)[:KEPT]
    weights = np.exp((logits[best] - logits[best[0]]) / TEMPERATURE)
    return best.tolist(), weights / weights.sum()


def exact(model):
    """Probability of each answer of LENGTH tokens."""
    found = {(): 1.0}
    for _ in range(LENGTH):
        found = {(*text, token): p * q for text, p in found.items() for token, q in zip(*kept(model, (*PROMPT, *text)))}
    return found


def drawn(model, first_seed, speculation=None):
    """TEXTS answers; how many drafts were right and wrong."""
    seen, right, wrong = Counter(), 0, 0
    for seed in range(first_seed, first_seed + TEXTS):
        sampling = Sampling(temperature=TEMPERATURE, top_k=KEPT, top_p=1.0, min_p=0.0, seed=seed)
        found = tokens_of(model, PROMPT, sampling, LENGTH, speculation)
        seen[tuple(found.tokens)] += 1
        right, wrong = right + found.accepted, wrong + found.drafted - found.accepted
    return seen, right, wrong


def deviations(chi_square, freedom):
    """How far out, in standard deviations of chi-square."""
    return (chi_square - freedom) / np.sqrt(2 * freedom)


@pytest.mark.long
def test_drafts_leave_the_distribution_as_it_is(model):
    expected = exact(model)
    likeliest = max(expected, key=expected.get)
    drafter = lambda prompt: Guesses(prompt[:0], likeliest, 0.9, 1, model.vocab)  # noqa: E731
    speculation = Speculation([drafter], model.plan.uncommitted_rows, Always())
    # other seeds: equal text would prove nothing
    (plain, *_), (drafted, right, wrong) = drawn(model, 0), drawn(model, 10**6, speculation)
    assert right > TEXTS / 10 and wrong > TEXTS / 10, "both kinds of drafts met"
    cells = list(product(range(KEPT), repeat=LENGTH))
    assert len(expected) == len(cells) and set(plain) | set(drafted) <= set(expected)
    expectation = np.array([TEXTS * p for p in expected.values()])
    counts = [np.array([seen[text] for text in expected], float) for seen in (plain, drafted)]
    assert expectation.min() > 5, "cells too thin for chi-square"
    for seen in counts:
        assert deviations(((seen - expectation) ** 2 / expectation).sum(), len(cells) - 1) < LIMIT
    assert deviations(((counts[0] - counts[1]) ** 2 / (counts[0] + counts[1])).sum(), len(cells) - 1) < LIMIT


def test_a_bias_of_a_tenth_would_show(model):
    """The same test on texts of which one in ten takes what was drafted unseen."""
    expected = exact(model)
    likeliest = max(expected, key=expected.get)
    seen, _, _ = drawn(model, 5 * 10**6)
    moved = Counter({text: round(0.9 * n) for text, n in seen.items()})
    moved[likeliest] += TEXTS - sum(moved.values())
    expectation = np.array([TEXTS * p for p in expected.values()])
    counts = np.array([moved[text] for text in expected], float)
    assert deviations(((counts - expectation) ** 2 / expectation).sum(), len(expected) - 1) > LIMIT

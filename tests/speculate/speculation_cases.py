"""Drafters and governors that make speculation meet every case."""

import numpy as np
from test_generate import TOKENIZER

from hfc.runtime.generate import Generation, Request
from hfc.runtime.speculate.drafter import Draft
from hfc.runtime.speculate.governor import PLAIN, BlockChoice, Governor


class Guesses:
    """A drafter that is right with a chance, from a copy of the tokens that will come; its blocks have every size."""

    name = "guesses"

    def __init__(self, prompt, future=(), chance=0.7, seed=0, vocab=8):
        self.at, self.future, self.chance = 0, [int(t) for t in future], chance
        self.vocab, self.rng = vocab, np.random.default_rng(seed)

    def extend(self, tokens):
        self.at += len(tokens)

    def draft(self, most):
        right = self.future[self.at : self.at + int(self.rng.integers(1, most + 1))] if most > 0 else []
        return (
            Draft(tuple(t if self.rng.random() < self.chance else int(self.rng.integers(self.vocab)) for t in right))
            if right
            else None
        )


class Tireless(Governor):
    """Asks every drafter to the end, whatever it brings and however long it takes."""

    def has_hope(self, offer):
        return True


class Always(Tireless):
    """Takes every draft, so that tests meet every block."""

    def choose(self, track, offers, most, others=0, others_tokens=None):
        return BlockChoice(min(most, offers[0].most), offers[0]) if offers and min(most, offers[0].most) > 0 else PLAIN


class Blocks(Tireless):
    """Takes blocks of so many rows from the plan's own draft, as far as the request has use for them."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def choose(self, track, offers, most, others=0, others_tokens=None):
        offer = next((o for o in offers if o.in_cycle), None)
        count = min(most, self.rows - 1)
        return BlockChoice(count, offer) if offer and count > 0 else PLAIN


def tokens_of(model, prompt, sampling, count, speculation=None):
    generation = Generation(model, TOKENIZER, Request(tuple(map(int, prompt)), sampling, count), speculation)
    generation._stop_ids, generation._text = frozenset(), Silent()
    for _ in generation:
        pass
    return generation.statistics


class Silent:
    """Texts do not matter here: token ids of any vocabulary pass."""

    def push(self, token):
        return ""

    def close(self):
        return ""

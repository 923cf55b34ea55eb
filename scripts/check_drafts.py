#!/usr/bin/env python
"""Speculative text against plain text on a device, token for token: prompt lookup and the plan's own draft, blocks of every size.

    hfc compile MODEL --draft DRAFT --arch sm_90 --ctx 512 -o pair.hfp
    scripts/check_drafts.py pair.hfp tokens.npz --device cuda [--prompts 200] [--tokens 200] [--temperature 0.8]

tokens.npz: an array "tokens" of ids [texts, n]; prompts of 24 to 256 tokens are cut out of it. Exit code 1 if a token differs.
"""

import argparse
import sys
import time

import numpy as np

from hfc.runtime.executor import load
from hfc.runtime.generate import Generation, Request
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.governor import PLAIN, Choice, Governor
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation
from hfc.runtime.tokenizer import Tokenizer


class Bytes:
    """A tokenizer core that spells nothing: ids are what is compared."""

    def encode(self, text, parse_special):
        return []

    def bytes_of(self, token):
        return b""


class EveryBlock(Governor):
    """Takes every draft, in blocks of a size that is drawn anew each time."""

    def __init__(self, seed: int):
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def choose(self, track, offers, most, others=0, others_tokens=None) -> Choice:
        room = min(most, max((o.most for o in offers), default=0))
        if room < 1:
            return PLAIN
        offer = max(offers, key=lambda o: o.most)
        return Choice(int(self._rng.integers(1, room + 1)), offer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("texts")
    parser.add_argument("--device", default="host")
    parser.add_argument("--weights")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    model = load(options.bundle, options.device, weights=options.weights)
    tokenizer = Tokenizer(Bytes(), model.vocab, {}, eos=None, stop_ids=frozenset())
    with np.load(options.texts) as file:
        texts = file["tokens"]
    rows, own = min(model.plan.uncommitted_rows, model.max_rows, model.max_outputs), model.plan.draft
    found = {"prompt lookup": Speculation([NgramDrafter], rows, EveryBlock(1)), "governor": Speculation([NgramDrafter], rows, own=own)}
    if own:
        found[own.name] = Speculation([], rows, EveryBlock(2), own)
    totals = {name: [0, 0, 0.0] for name in ("plain", *found)}
    rng, wrong = np.random.default_rng(0), 0
    for number in range(options.prompts):
        first, length = int(rng.integers(0, texts.shape[1] - 256)), int(rng.integers(24, 257))
        prompt = tuple(map(int, texts[number % len(texts), first : first + length]))
        request = Request(prompt, Sampling(temperature=options.temperature, seed=number), options.tokens)
        expected = None
        for name, speculation in {"plain": None, **found}.items():
            generation, start = Generation(model, tokenizer, request, speculation), time.perf_counter()
            for _ in generation:
                pass
            statistics = generation.statistics
            totals[name] = [a + b for a, b in zip(totals[name], (statistics.cycles, statistics.accepted, time.perf_counter() - start))]
            expected = expected or statistics.tokens
            if statistics.tokens != expected:
                at = next(i for i, (a, b) in enumerate(zip(statistics.tokens, expected)) if a != b)
                print(f"prompt {number}: {name} differs from plain decoding at token {at}")
                wrong += 1
    for name, (cycles, accepted, seconds) in totals.items():
        print(f"{name}: {(cycles + accepted) / cycles if cycles else 1:.2f} tokens a cycle, {seconds:.1f} s")
    print(f"{options.prompts} prompts, {wrong} texts differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

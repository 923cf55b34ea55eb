#!/usr/bin/env python3
"""Speculative against plain decoding on a device, token by token: every prompt is decoded both ways.

    scripts/check_speculation.py BUNDLE... --weights CHECKPOINT --texts tokens.npz [--device cuda] [--prompts 200] [--json OUT]

BUNDLE: compiled with --draft, one for each KV format.  --texts: an array "tokens" i32 [texts, n] of real text. Exit code 1 if a token differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from hfc.plan import load_bundle
from hfc.runtime.executor import load
from hfc.runtime.generate import Generation, Request
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.governor import PLAIN, Choice, Governor
from hfc.runtime.speculate.speculator import Speculation


class Always(Governor):
    """Takes every draft that is offered, so that as many blocks as possible are compared."""

    def choose(self, track, offers, most, others=0, others_tokens=None):
        offer = max(offers, key=lambda o: o.most, default=None)
        return Choice(min(most, offer.most), offer) if offer and min(most, offer.most) > 0 else PLAIN


class NoText:
    """Stands for the tokenizer: only tokens are compared."""

    stop_ids = frozenset()

    def stream(self):
        return self

    def push(self, token: int) -> str:
        return ""

    def close(self) -> str:
        return ""


def main() -> int:
    options = parse()
    with np.load(options.texts) as file:
        texts = file["tokens"]
    records = []
    for bundle in options.bundles:
        model = load(load_bundle(bundle), options.device, weights=options.weights)
        record = {"bundle": Path(bundle).name, "device": options.device} | compare(model, texts, options)
        model.close()
        print(json.dumps(record), flush=True)
        records.append(record)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0 if all(record["different"] == 0 for record in records) else 1


def compare(model, texts: np.ndarray, options: argparse.Namespace) -> dict:
    rng, speculation = np.random.default_rng(0), Speculation([], model.plan.uncommitted_rows, Always(), own=model.plan.draft)
    seconds, different, cycles, accepted = [0.0, 0.0], 0, 0, 0
    for number in range(options.prompts):
        first, length = int(rng.integers(0, 200)), int(rng.integers(24, 257))
        request = Request(tuple(map(int, texts[number % len(texts), first : first + length])), sampling(number), options.tokens)
        found = []
        for i, drafts in enumerate((None, speculation)):
            start = time.perf_counter()
            generation = Generation(model, NoText(), request, drafts)
            for _ in generation:
                pass
            seconds[i] += time.perf_counter() - start
            found.append(generation.statistics)
        different += found[0].tokens != found[1].tokens
        cycles, accepted = cycles + found[1].cycles, accepted + found[1].accepted
    tokens = options.prompts * options.tokens
    speeds = {name: round(tokens / s, 1) for name, s in zip(("plain_tok_s", "speculative_tok_s"), seconds)}
    return {"prompts": options.prompts, "tokens": tokens, "different": different, "tokens_a_cycle": round((accepted + cycles) / max(cycles, 1), 3)} | speeds


def sampling(number: int) -> Sampling:
    """Every fourth prompt is sampled: the tokens must agree there too."""
    return Sampling(temperature=0.9, seed=number) if number % 4 == 3 else Sampling(temperature=0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

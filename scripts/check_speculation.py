#!/usr/bin/env python3
"""Speculative against plain decoding on a device, token by token: every prompt is decoded plainly and in other ways.

    hfc compile MODEL --draft DRAFT --arch sm_90 --kv q8 --ctx 512 -o pair-q8.hfp
    scripts/check_speculation.py pair-*.hfp --texts tokens.npz --device cuda [--weights MODEL] [--prompts 200] [--json OUT]

Ways: "blocks" takes whatever prompt lookup and the plan's own draft offer, in blocks of drawn sizes; "own" takes blocks as large as
the plan's draft makes them; "auto" is what `hfc run` does.  --texts: an array "tokens" i32 [texts, n] of real text; prompts of 24 to
256 tokens are cut out of it, every fourth is sampled, the others are greedy.  Exit code 1 if a token differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfc.bundles import load_bundle
from hfc.plan import Plan
from hfc.runtime.decoding.model import Model
from hfc.runtime.executor import load
from hfc.runtime.generate import Generation, Request, Statistics
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.governor import PLAIN, BlockChoice, Governor
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation


class Tireless(Governor):
    """Asks every drafter to the end, whatever it brings."""

    def has_hope(self, offer) -> bool:
        return True


class Drawn(Tireless):
    """Takes an offer and a size that are drawn anew each time, so that blocks of every kind and size meet."""

    def __init__(self, seed: int):
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def choose(self, track, offers, most, others=0, others_tokens=None) -> BlockChoice:
        offer = offers[int(self._rng.integers(len(offers)))]
        room = min(most, offer.most)
        return BlockChoice(int(self._rng.integers(1, room + 1)), offer) if room > 0 else PLAIN


class Largest(Tireless):
    """Takes the largest block each time."""

    def choose(self, track, offers, most, others=0, others_tokens=None) -> BlockChoice:
        room = min(most, offers[0].most)
        return BlockChoice(room, offers[0]) if room > 0 else PLAIN


class NoText:
    """Stands for the tokenizer: only tokens are compared."""

    stop_ids = frozenset()

    def stream(self):
        return self

    def push(self, token: int) -> str:
        return ""

    def close(self) -> str:
        return ""


@dataclass
class Total:
    """What one way of decoding did in all. wrong: prompts whose tokens are not plain decoding's."""

    tokens: int = 0
    decode_s: float = 0.0
    cycles: int = 0
    accepted: int = 0
    wrong: int = 0

    def add(self, found: Statistics, expected: Statistics) -> None:
        self.tokens += len(found.tokens)
        self.decode_s += found.decode_s
        self.cycles += found.cycles
        self.accepted += found.accepted
        self.wrong += found.tokens != expected.tokens

    def report(self) -> dict:
        tau = {"tokens_a_cycle": round((self.accepted + self.cycles) / self.cycles, 3)} if self.cycles else {}
        return {"different": self.wrong, "tok_s": round(self.tokens / self.decode_s, 1), "cycles": self.cycles} | tau


def main() -> int:
    options = parse()
    with np.load(options.texts) as file:
        texts = file["tokens"]
    records = []
    for path in options.bundles:
        model = load(load_bundle(path, trusted=True), options.device, options.threads, options.weights)
        record = {"bundle": Path(path).stem, "device": options.device} | compare(model, model.plan, texts, options)
        model.close()
        print(json.dumps(record), flush=True)
        records.append(record)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0 if all(way["different"] == 0 for record in records for way in record["ways"].values()) else 1


def ways_of(plan: Plan) -> dict[str, Speculation]:
    rows, own = min(plan.uncommitted_rows, plan.max_rows, plan.max_outputs), plan.draft
    found = {
        "blocks": Speculation([NgramDrafter], rows, Drawn(1), own),
        "auto": Speculation([NgramDrafter], rows, own=own),
    }
    return found | ({"own": Speculation([], rows, Largest(), own)} if own else {})


def compare(model: Model, plan: Plan, texts: np.ndarray, options: argparse.Namespace) -> dict:
    ways = {"plain": None} | {name: way for name, way in ways_of(plan).items() if name in options.ways}
    totals = {name: Total() for name in ways}
    rng, start, done = np.random.default_rng(0), time.perf_counter(), 0
    for number in range(options.prompts):
        length = int(rng.integers(24, 257))
        first = int(rng.integers(0, texts.shape[1] - length))
        if number < options.first or time.perf_counter() - start >= options.limit_s:
            continue
        request = Request(
            tuple(map(int, texts[number % len(texts), first : first + length])), sampling(number), options.tokens
        )
        plain = None
        for name, way in ways.items():
            found = decode(model, request, way)
            plain = plain or found
            totals[name].add(found, plain)
            if found.tokens != plain.tokens:
                at = next(i for i, (a, b) in enumerate(zip(found.tokens, plain.tokens)) if a != b)
                print(
                    f"prompt {number}, {name}: token {at} is {found.tokens[at]}, plain decoding's {plain.tokens[at]}",
                    file=sys.stderr,
                )
        done += 1
    seconds = round(time.perf_counter() - start, 1)
    return {
        "prompts": done,
        "tokens": options.tokens,
        "seconds": seconds,
        "ways": {name: total.report() for name, total in totals.items()},
    }


def decode(model: Model, request: Request, speculation: Speculation | None) -> Statistics:
    generation = Generation(model, NoText(), request, speculation)
    for _ in generation:
        pass
    return generation.statistics


def sampling(number: int) -> Sampling:
    """Every fourth prompt is sampled: the tokens must agree there too."""
    return Sampling(temperature=0.9, seed=number) if number % 4 == 3 else Sampling(temperature=0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--weights", help="the checkpoint, if not where the bundle says")
    parser.add_argument("--texts", required=True)
    parser.add_argument("--device", default="host")
    parser.add_argument("--threads", type=int, help="of the host")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first prompt that is decoded, to go on where a run ended"
    )
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--ways", type=lambda text: text.split(","), default=["blocks", "own", "auto"])
    parser.add_argument(
        "--limit-s", type=float, default=float("inf"), help="of one bundle, after which it begins no prompt"
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

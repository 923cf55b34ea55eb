#!/usr/bin/env python3
"""Greedy tokens of a model on a device, written down or compared: how a card is held to the interpreter.

    scripts/greedy.py CHECKPOINT --device interpret --tokens 5,7,11 -n 128 -o expected.npz        anywhere, with the compiler
    scripts/greedy.py BUNDLE --weights CHECKPOINT --device cuda --against expected.npz --trust    on the card

Exit code 1 if a token differs or the logits of the prompt differ by more than 1e-2 (relative L2).
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from hfc.cli.open_model import ModelChoice, open_model
from hfc.step import Step

BOUND = 1e-2


def main() -> int:
    options = parse()
    model = open_model(
        options.model, ModelChoice(options.device, None, None, options.kv, options.weights, trust=options.trust)
    ).model
    expected = dict(np.load(options.against)) if options.against else None
    prompt = expected["prompt"] if expected else np.array(options.tokens.split(","), np.int32)
    count = len(expected["greedy"]) if expected else options.n
    logits, greedy, margin = run(model, prompt, count, expected)
    if options.output:
        np.savez(options.output, prompt=prompt, logits=logits, greedy=np.array(greedy, np.int32))
        print(f"{count} tokens, least margin {margin:.2g}: {options.output}")
        return 0
    error = float(np.linalg.norm(logits - expected["logits"]) / np.linalg.norm(expected["logits"]))
    equal = sum(a == b for a, b in zip(greedy, expected["greedy"].tolist()))
    print(
        f"{options.model} on {options.device}: {equal} of {count} greedy tokens equal, logits of the prompt differ by {error:.1e}"
    )
    return 0 if equal == count and error <= BOUND else 1


def run(model, prompt: np.ndarray, count: int, expected: dict | None) -> tuple[np.ndarray, list[int], float]:
    """Logits of the prompt's rows, `count` greedy tokens, and the smallest lead of a chosen token.

    A comparison feeds the expected tokens, so that one difference does not make all that follow differ."""
    logits = model.forward(Step.single(prompt))
    last, greedy, margin = logits[-1], [], np.inf
    for position in range(len(prompt), len(prompt) + count):
        second, first = np.sort(last)[-2:]
        margin = min(margin, float(first - second))
        greedy.append(int(np.argmax(last)))
        token = int(expected["greedy"][len(greedy) - 1]) if expected else greedy[-1]
        if len(greedy) < count:
            last = model.forward(Step.single([token], position=position))[0]
    return logits, greedy, margin


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--device", default="interpret")
    parser.add_argument("--weights")
    parser.add_argument("--kv")
    parser.add_argument("--tokens", default="1,2,3", help="of the prompt")
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-o", "--output")
    parser.add_argument("--against")
    parser.add_argument("--trust", action="store_true", help="run the code of a bundle that was made elsewhere")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A decoded token after so many others, by turns: this tree, others, llama-server, each a process that stays, a few tokens at a time.

    scripts/bench_turns.py MODEL.gguf --depth 8000 -t 2 [--kv f16,q8] [--tree ../before] [--llama-server build/bin/llama-server]

A machine that others use too slows all of them alike, so ratios are taken round by round: medians with quartiles, by the clock and by
processor time of all threads (those that wait for others spin, so two threads cost more of it than one). The first contender is what others are
compared with. hfc's cache holds the rows of a short prompt over and over: how long a step takes does not depend on what they are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from serve_client import ROOT, post, process_clock

REPEATED = 512  # tokens of hfc's prompt
IDS = (300, 3000)  # of prompts: in every vocabulary
Turn = Callable[[int], tuple[float, float]]  # tokens -> milliseconds a token: by the clock, of processor time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--depth", type=int, default=8000)
    parser.add_argument("--kv", default="f16", help="formats of the context, each a contender")
    parser.add_argument("--tree", action="append", default=[], help="another hfc, with the first format")
    parser.add_argument("--llama-server", help="llama.cpp's program, with its own f16")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--tokens", type=int, default=8, help="a turn")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for kv in options.kv.split(","):
            turns[f"hfc {kv}"] = stack.enter_context(ours(options, kv, ROOT))
        for tree in options.tree:
            turns[tree] = stack.enter_context(ours(options, options.kv.split(",")[0], Path(tree).resolve()))
        if options.llama_server:
            turns["llama.cpp"] = stack.enter_context(peer(options))
        report(measured(turns, options.rounds, options.tokens))
    return 0


def measured(turns: dict[str, Turn], rounds: int, tokens: int) -> dict[str, list[tuple[float, float]]]:
    """Every contender in every round, in both orders by turns; the first round warms up."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name in sorted(turns, key=list(turns).index, reverse=bool(number % 2)):
            took = turns[name](tokens)
            if number:
                seen[name].append(took)
    return seen


def report(seen: dict[str, list[tuple[float, float]]]) -> None:
    base = next(iter(seen.values()))
    for name, rows in seen.items():
        for what, one in (("clock", 0), ("processor", 1)):
            own, ratio = [r[one] for r in rows], [r[one] / b[one] for r, b in zip(rows, base)]
            print(
                f"{name:24} {what:9} {spread(own, 2)} ms a token, least {min(own):.2f}; {spread(ratio, 2)} of the first"
            )


def spread(values: list[float], digits: int) -> str:
    """The median, and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


@contextlib.contextmanager
def ours(options: argparse.Namespace, kv: str, tree: Path) -> Iterator[Turn]:
    words = [options.model, "--child", str(tree), "--kv", kv, "--depth", str(options.depth), "-t", str(options.threads)]
    process = subprocess.Popen(
        [sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )

    def turn(tokens: int) -> tuple[float, float]:
        print(tokens, file=process.stdin, flush=True)
        clock, processor = json.loads(process.stdout.readline())
        return clock, processor

    try:
        turn(1)  # it is ready
        yield turn
    finally:
        process.stdin.close()
        process.wait(40)


def child(options: argparse.Namespace) -> int:
    """Reads numbers of tokens, writes what one of them took."""
    sys.path.insert(0, options.child)
    from hfc.compiler import CompileOptions, compile_model
    from hfc.runtime.executor import load
    from hfc.step import Step

    bundle = compile_model(options.model, ["host"], CompileOptions(ctx=options.depth + 64, slots=1, kv=options.kv))
    model = load(bundle, "host", options.threads)
    prompt = np.random.default_rng(1).integers(*IDS, min(REPEATED, options.depth)).astype(np.int32)
    model.forward(Step.single(prompt, outputs="last"))
    repeat(model, len(prompt))
    for line in sys.stdin:
        tokens = int(line)
        clock, processor = time.perf_counter(), time.process_time()
        for at in range(tokens):
            model.forward(Step.single(prompt[:1], options.depth + at, outputs="last"))
        took = time.perf_counter() - clock, time.process_time() - processor
        print(json.dumps([1e3 * t / tokens for t in took]), flush=True)
    return 0


def repeat(model, known: int) -> None:
    """The rows of the first `known` tokens at every later position of the caches of keys and values."""
    for state in model.plan.states:
        for plane in {"k", "v"} & set(state.planes):
            lanes = math.prod(state.shape[1 : state.shape.index("C")])
            rows = model.state(state.name, plane).reshape(lanes, model.context, -1)
            for at in range(known, model.context, known):
                rows[:, at : at + known] = rows[:, : min(known, model.context - at)]


@contextlib.contextmanager
def peer(options: argparse.Namespace) -> Iterator[Turn]:
    from bench_growth import llama_server

    prompt = np.random.default_rng(1).integers(*IDS, options.depth).tolist()
    with llama_server(options, options.depth + 64, 1) as server:
        clock = process_clock(server.pid)

        def turn(tokens: int) -> tuple[float, float]:
            """Its answer's tokens and the last one of the prompt, which it computes again, are as many steps."""
            asked = {"prompt": prompt, "n_predict": tokens, "cache_prompt": True, "temperature": 0, "ignore_eos": True}
            before = time.clock_gettime(clock)
            said = asyncio.run(post(server.url, "/completion", json.dumps(asked).encode())).json()
            return said["timings"]["predicted_per_token_ms"], (time.clock_gettime(clock) - before) * 1e3 / tokens

        turn(1)  # the prompt
        yield turn


if __name__ == "__main__":
    sys.exit(main())

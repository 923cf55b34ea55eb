#!/usr/bin/env python
"""Speculative against plain decoding on the host, by kind of text and by drafter: the table of docs/bench/dflash.md.

    scripts/bench_drafts.py MODEL [--draft DRAFT] [--held-out tokens.npz] [--temperature 0.8] [--random] [--json out.json]

--held-out: an array "tokens" i32 [texts, n] of real text of the model's own kind. --random: also with a draft of random weights.
--cpu-time: one thread, timed by its own clock, so that a busy machine does not show.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from hfc.cli.drafted import Drafted, encode, measure_prompts
from hfc.cli.genres import GENRES
from hfc.cli.open_model import OpenModel
from hfc.compiler import compile_model
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.speculator import Speculation
from hfc.runtime.vocabulary import Vocabulary, load_vocabulary
from hfc.step import JOURNAL_ROWS


def genres(vocabulary: Vocabulary, held_out: str | None, length: int, count: int) -> dict[str, list[tuple[int, ...]]]:
    """Name -> prompts: hfc's own, as a chat where the model has a template, and beginnings of real texts."""
    found = {name: [encode(vocabulary, prompt) for prompt in prompts] for name, prompts in GENRES.items()}
    if held_out:
        with np.load(held_out) as file:
            texts = file["tokens"][:count, :length]
        found["held-out"] = [tuple(map(int, text)) for text in texts]
    return found


def drafters(plan) -> dict[str, Speculation]:
    """Every way to draft, each with a governor of its own."""
    rows = plan.uncommitted_rows
    found = {"ngram": Speculation([NgramDrafter], rows)}
    if plan.draft:
        found[plan.draft.name] = Speculation([], rows, own=plan.draft)
        found["auto"] = Speculation([NgramDrafter], rows, own=plan.draft)
    return found


assert ml_dtypes.bfloat16  # registers bfloat16 with numpy, which safetensors needs


def randomized(draft: str, folder: str) -> str:
    """A copy of a draft in which every tensor is drawn anew with its own spread: it knows nothing."""
    rng = np.random.default_rng(0)
    tensors = load_file(Path(draft) / "model.safetensors")
    drawn = {name: (rng.standard_normal(t.shape) * np.std(t.astype(np.float32))).astype(t.dtype) for name, t in tensors.items()}
    save_file(drawn, Path(folder) / "model.safetensors")
    shutil.copy(Path(draft) / "config.json", folder)
    return folder


def table(results: list[tuple[str, Drafted]]) -> str:
    lines = ["| text | drafts | plain tok/s | tok/s | speed-up | tokens a cycle | accepted | equal | loops |", "|---|---|---|---|---|---|---|---|---|"]
    for name, r in results:
        tau = "-" if r.tau is None else f"{r.tau:.2f}"
        lines.append(
            f"| {r.test} | {name} | {r.plain_tok_s:.0f} | {r.tok_s:.0f} | {r.speedup:.2f}x | {tau} | {r.accepted} of {r.drafted} "
            f"| {'yes' if r.is_equal else 'NO'} | {r.loops} of {r.prompts} |"
        )
    return "\n".join(lines)


def measure(options, vocabulary: Vocabulary, texts: dict, draft: str | None, only: bool = False) -> list[tuple[str, Drafted]]:
    """(drafter, what it brought) for every kind of text. only: the draft alone."""
    threads = 1 if options.cpu_time else options.threads
    clock = time.thread_time if options.cpu_time else time.perf_counter
    sampling = Sampling(temperature=options.temperature, seed=1)
    model = load(compile_model(options.model, ["host"], ctx=1024, draft=draft, journal_rows=JOURNAL_ROWS), "host", threads)
    results = []
    for name, speculation in drafters(model.plan).items():
        if only and name != model.plan.draft.name:
            continue
        opened = OpenModel(model, model.plan, vocabulary, speculation)
        measure_prompts(opened, "warm-up", texts["code"][:1], options.tokens, sampling, clock)
        results += [(name, measure_prompts(opened, text, prompts * options.repeat, options.tokens, sampling, clock)) for text, prompts in texts.items()]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--draft")
    parser.add_argument("--held-out")
    parser.add_argument("--texts", type=int, default=24, help="of --held-out")
    parser.add_argument("--prompt", type=int, default=96, help="tokens of a held-out text that are the prompt")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3, help="times that every prompt runs")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    vocabulary = load_vocabulary(options.model)
    texts = genres(vocabulary, options.held_out, options.prompt, options.texts)
    results = measure(options, vocabulary, texts, options.draft)
    if options.random:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, vocabulary, texts, randomized(options.draft, folder), only=True)
        results += [(f"random {name}", r) for name, r in found]
    print(table(sorted(results, key=lambda r: list(texts).index(r[1].test))))
    if options.json:
        with open(options.json, "w") as file:
            json.dump([{"drafts": name, **asdict(r)} for name, r in results], file, indent=1)


if __name__ == "__main__":
    main()

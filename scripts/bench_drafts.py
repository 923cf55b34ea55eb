#!/usr/bin/env python
"""Speculative against plain decoding on the host, by kind of text and by drafter: the tables of docs/bench/dflash.md.

    scripts/bench_drafts.py MODEL [--draft DRAFT] [--held-out tokens.npz] [--temperature 0.8] [--ways ngram,own,auto] [--json out.json]

--held-out: an array "tokens" i32 [texts, n] of real text of the model's own kind; texts that repeat themselves are a kind of their own.
--ways: ngram (prompt lookup), own (the draft alone), auto (both, as `hfc run` does), random (own with weights drawn at random).
--cpu-time: one thread, timed by its own clock, so that a busy machine does not show.
Speeds are of texts that do not run into a loop; how many did is told.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from hfc.cli.drafted import Drafted, Pair, encode, measure_pairs, speeds_of, summarize
from hfc.cli.genres import GENRES
from hfc.cli.open_model import OpenModel
from hfc.compiler import CompileOptions, compile_model
from hfc.plan import Plan
from hfc.runtime.executor import load
from hfc.runtime.sampler import Sampling
from hfc.runtime.speculate.ngram import NgramDrafter
from hfc.runtime.speculate.repetition import is_degenerate, repeated_share
from hfc.runtime.speculate.speculator import Speculation
from hfc.runtime.vocabulary import Vocabulary, load_vocabulary
from hfc.step import JOURNAL_ROWS

NGRAM, OWN, AUTO, RANDOM = "ngram", "own", "auto", "random"
REPETITIVE = 0.09  # share of 8-grams of a real text that it has already: above this it is of the repetitive kind

assert ml_dtypes.bfloat16  # registers bfloat16 with numpy, which safetensors needs


@dataclass(frozen=True)
class Row:
    """A kind of text with a way to draft. all: every text.  rest: those that did not run into a loop, None if all did.

    speedups: of rest, of each repetition."""

    drafts: str
    all: Drafted
    rest: Drafted | None
    speedups: tuple[float, ...]


def genres(vocabulary: Vocabulary, held_out: str | None, length: int, count: int) -> dict[str, list[tuple[int, ...]]]:
    """Name -> prompts: hfc's own, as a chat where the model has a template, and beginnings of real texts."""
    found = {name: [encode(vocabulary, prompt) for prompt in prompts] for name, prompts in GENRES.items()}
    if held_out:
        with np.load(held_out) as file:
            texts = [tuple(map(int, text)) for text in file["tokens"]]
        repetitive = [repeated_share(text) > REPETITIVE for text in texts]
        for name, wanted in (("held-out code", False), ("held-out, repetitive", True)):
            found[name] = [text[:length] for text, is_repetitive in zip(texts, repetitive) if is_repetitive == wanted][
                :count
            ]
    return found


def drafters(plan: Plan) -> dict[str, tuple[str, Speculation]]:
    """Way -> its name in the table, and what it drafts with: each has a governor of its own."""
    rows = plan.uncommitted_rows
    found = {NGRAM: (NGRAM, Speculation([NgramDrafter], rows))}
    if plan.draft:
        found[OWN] = plan.draft.name, Speculation([], rows, own=plan.draft)
        found[RANDOM] = f"random {plan.draft.name}", Speculation([], rows, own=plan.draft)
        found[AUTO] = AUTO, Speculation([NgramDrafter], rows, own=plan.draft)
    return found


def randomized(draft: str, folder: str) -> str:
    """A copy of a draft in which every tensor is drawn anew with its own spread: it knows nothing."""
    rng = np.random.default_rng(0)
    tensors = load_file(Path(draft) / "model.safetensors")
    drawn = {
        name: (rng.standard_normal(t.shape) * np.std(t.astype(np.float32))).astype(t.dtype)
        for name, t in tensors.items()
    }
    save_file(drawn, Path(folder) / "model.safetensors")
    shutil.copy(Path(draft) / "config.json", folder)
    return folder


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| text | drafts | plain tok/s | tok/s | speed-up (range) | tokens a cycle | accepted | equal | loops left out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        loops = f"{row.all.loops} of {row.all.prompts}" + f" ({row.all.speedup:.2f}x with them)" * (row.all.loops > 0)
        equal = "yes" if row.all.is_equal else "NO"
        if row.rest is None:
            lines.append(f"| {row.all.test} | {row.drafts} | - | - | - | - | - | {equal} | {loops} |")
            continue
        r, tau = row.rest, "-" if row.rest.tau is None else f"{row.rest.tau:.2f}"
        speedup = f"{statistics.median(row.speedups):.2f}x ({min(row.speedups):.2f}-{max(row.speedups):.2f})"
        lines.append(
            f"| {r.test} | {row.drafts} | {r.plain_tok_s:.0f} | {r.tok_s:.0f} | {speedup} | {tau} | {r.accepted} of {r.drafted} | {equal} | {loops} |"
        )
    return "\n".join(lines)


def row_of(name: str, test: str, repetitions: Sequence[Sequence[Pair]], is_templated: bool) -> Row:
    rest = [[p for p in pairs if not is_degenerate(p[1].tokens)] for pairs in repetitions]
    speedups = tuple(round(b / a, 3) for a, b in (speeds_of(pairs) for pairs in rest if pairs))
    together, kept = ([p for pairs in some for p in pairs] for some in (repetitions, rest))
    return Row(
        name, summarize(test, together, is_templated), summarize(test, kept, is_templated) if kept else None, speedups
    )


def measure(options, vocabulary: Vocabulary, texts: dict, draft: str | None, ways: Sequence[str]) -> list[Row]:
    """Every kind of text in every way."""
    threads = 1 if options.cpu_time else options.threads
    clock = time.thread_time if options.cpu_time else time.perf_counter
    model = load(
        compile_model(options.model, ["host"], CompileOptions(ctx=1024, draft=draft, journal_rows=JOURNAL_ROWS)),
        "host",
        threads,
    )
    rows = []
    for name, speculation in (found for way, found in drafters(model.plan).items() if way in ways):
        opened = OpenModel(model, model.plan, vocabulary, speculation)

        def run(prompts, seed, opened=opened):
            return measure_pairs(
                opened, prompts, options.tokens, Sampling(temperature=options.temperature, seed=seed), clock, turn=seed
            )

        run(texts["code"][:2], 0)  # does not count
        for text, prompts in texts.items():
            found = [run(prompts, seed) for seed in range(options.repeat)]
            rows.append(row_of(name, text, found, bool(vocabulary.template)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--draft")
    parser.add_argument("--held-out")
    parser.add_argument("--texts", type=int, default=24, help="of each kind of --held-out")
    parser.add_argument("--prompt", type=int, default=96, help="tokens of a held-out text that are the prompt")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument(
        "--repeat", type=int, default=4, help="times that every prompt runs, each with a seed of its own"
    )
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--ways", type=lambda text: text.split(","), default=[NGRAM, OWN, AUTO])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    vocabulary = load_vocabulary(options.model)
    texts = genres(vocabulary, options.held_out, options.prompt, options.texts)
    rows = measure(options, vocabulary, texts, options.draft, [way for way in options.ways if way != RANDOM])
    if RANDOM in options.ways:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(options, vocabulary, texts, randomized(options.draft, folder), [RANDOM])
    print(table(sorted(rows, key=lambda row: list(texts).index(row.all.test))))
    if options.json:
        with open(options.json, "w") as file:
            json.dump([asdict(row) for row in rows], file, indent=1)


if __name__ == "__main__":
    main()

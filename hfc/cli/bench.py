"""`hfc bench`: tokens a second of prefill and decode, and the share of the memory's speed that they use."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer

from hfc.base.diagnostics import HfcError
from hfc.base.progress import spinner
from hfc.cli.bandwidth import read_bandwidth_gb_s
from hfc.cli.open_model import Choice, OpenModel, open_model
from hfc.cli.parameters import Context, Device, KvFormat, ModelName, Threads, Weights
from hfc.cli.table import table
from hfc.plan import Plan
from hfc.runtime.generate import Model, prefill
from hfc.runtime.null import NullModel
from hfc.step import Step


@dataclass(frozen=True)
class Measurement:
    """tok_s: median of the repetitions.  gb_s: what the plan says it must move, in that time.

    bandwidth_share: gb_s over the measured read speed of the memory; None where the device has no plan.
    """

    test: str
    tok_s: float
    min: float
    max: float
    gb_s: float | None
    bandwidth_share: float | None


def command(
    model: ModelName,
    prompts: Annotated[str, typer.Option("-p", help="Lengths of prompts to prefill, with commas between.")] = "128,512",
    decode: Annotated[str, typer.Option("-n", help="How many tokens to decode, from an empty context.")] = "64",
    threads: Threads = None,
    repetitions: Annotated[int, typer.Option("-r", min=1, help="Repetitions, after one that does not count.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    ctx: Context = None,
    kv: KvFormat = None,
    device: Device = "host",
    weights: Weights = None,
) -> None:
    """Measure prefill (pp) and decode (tg) speed."""
    tests = [(f"pp{n}", n, run_prefill) for n in lengths(prompts)] + [
        (f"tg{n}", n, run_decode) for n in lengths(decode)
    ]
    opened = open_model(model, Choice(device, threads, ctx, kv, weights))
    too_long = [name for name, count, _ in tests if count > opened.model.context]
    if too_long:
        raise HfcError(
            f"{too_long[0]} does not fit the context of {opened.model.context} tokens", hint="use a larger --ctx"
        )
    with spinner("measuring memory") as say:
        peak_gb_s = read_bandwidth_gb_s(threads or len(os.sched_getaffinity(0)))
        results = []
        for name, count, run in tests:
            say(f"measuring {name}")
            results.append(measure(name, count, run, opened, repetitions, peak_gb_s))
    print(json.dumps([asdict(r) for r in results], indent=1) if as_json else show(results, peak_gb_s))


def lengths(text: str) -> list[int]:
    """ "128,512" as numbers; "0" or "" is no test."""
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise HfcError(f"{text!r} is not a list of token counts like 128,512") from None
    if any(n < 0 for n in numbers):
        raise HfcError(f"{text!r}: token counts cannot be below 0")
    return [n for n in numbers if n]


def run_prefill(model: Model, tokens: Sequence[int]) -> None:
    prefill(model, tuple(tokens))


def run_decode(model: Model, tokens: Sequence[int]) -> None:
    for position, token in enumerate(tokens):
        model.forward(Step.single([token], position))


def measure(
    name: str,
    count: int,
    run: Callable[[Model, Sequence[int]], None],
    opened: OpenModel,
    repetitions: int,
    peak_gb_s: float,
) -> Measurement:
    """Time `run` of `count` tokens; the same tokens each time, drawn with a fixed seed."""
    tokens = np.random.default_rng(0).integers(0, opened.model.vocab, count).tolist()
    run(opened.model, tokens)
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run(opened.model, tokens)
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    gb_s = _moved_bytes(opened.plan, run, tokens) / middle / 1e9 if opened.plan else None
    speeds = [round(count / s, 2) for s in (middle, max(seconds), min(seconds))]
    share = None if gb_s is None else round(gb_s / peak_gb_s, 3)
    return Measurement(name, *speeds, None if gb_s is None else round(gb_s, 2), share)


def _moved_bytes(plan: Plan, run: Callable[[Model, Sequence[int]], None], tokens: Sequence[int]) -> int:
    """The plan's own count, by running the same steps on the null device."""
    counter = NullModel(plan)
    run(counter, tokens)
    return counter.count.bytes


def show(results: Sequence[Measurement], peak_gb_s: float) -> str:
    rows = [(r.test, r.tok_s, r.min, r.max, "-" if r.gb_s is None else r.gb_s, _percent(r)) for r in results]
    header = ("test", "tok/s", "min", "max", "GB/s", "of memory speed")
    return f"{table(header, rows)}\nmemory reads at {peak_gb_s:.1f} GB/s"


def _percent(result: Measurement) -> str:
    return "-" if result.bandwidth_share is None else f"{100 * result.bandwidth_share:.0f} %"

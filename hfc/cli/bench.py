"""`hfc bench`: tokens a second of prefill and decode, and the share of the memory's speed that they use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.progress import spinner
from hfc.base.system import thread_count
from hfc.base.whole_file import write_whole
from hfc.cli.bandwidth import copy_bandwidth_gb_s, read_bandwidth_gb_s
from hfc.cli.bench_record import comparison, load, record_of, shared
from hfc.cli.bench_record import save as save_record
from hfc.cli.drafted import Drafted, Synthetic, measure_genres, measure_synthetic
from hfc.cli.measure import Measurement, measure
from hfc.cli.open_model import ModelChoice, OpenModel, open_model
from hfc.cli.table import table
from hfc.cli.workload import check_workload, workloads
from hfc.plan import Plan, weight_sizes
from hfc.runtime.decoding.model import Model
from hfc.runtime.gpu import GpuModel
from hfc.runtime.host import HostModel
from hfc.runtime.null import NullModel
from hfc.runtime.pipeline.model import StagedModel
from hfc.runtime.ranks.model import RankedModel
from hfc.runtime.speculate.drafts import AUTO, OFF

USUAL_CONTEXT = 4096  # what a model is compiled for when nothing is asked


@dataclass(frozen=True)
class BenchOptions:
    """What `hfc bench` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/bench.py)."""

    model: str
    prompts: str
    decode: str
    depth: str
    batch: str
    threads: int | None
    repetitions: int
    as_json: bool
    save: Path | None
    compare: Path | None
    share: Path | None
    ctx: int | None
    kv: str | None
    profile: str | None
    device: str
    experts: str | None
    tensor_parallel: int | None
    weights: str | None
    trust: bool
    random_weights: bool
    format: str | None
    draft: str
    draft_tokens: int
    draft_acceptance: float | None
    draft_rows: str

    def choice(self, context: int | None, slots: int, draft: str) -> ModelChoice:
        return ModelChoice(
            self.device, self.threads, context, self.kv, self.weights, slots, self.format, self.random_weights, draft=draft,
            profile=self.profile, trust=self.trust, experts=self.experts,
            tensor_parallel=self.tensor_parallel,
        )  # fmt: skip


OPTIONS = BenchOptions


def command(options: BenchOptions) -> None:
    """Measure prefill (pp) and decode (tg) speed: every -p, and every -n at every -d in every -b. With --draft also
    speculative against plain decoding, on prompts of several genres."""
    depths = lengths(options.depth, zero=True)
    tests = workloads(lengths(options.prompts), lengths(options.decode), depths, lengths(options.batch))
    draft = AUTO if options.draft == OFF and options.draft_acceptance is not None else options.draft
    if not tests and draft == OFF:
        raise HfcError("there is nothing to measure: both -p and -n are empty")
    if not tests and (options.save or options.compare or options.share):
        raise HfcError("--save, --compare and --share are of -p and -n, which are empty")
    before = load(options.compare) if options.compare else None  # a wrong file is refused before minutes of measuring
    needed, slots = max((t.context for t in tests), default=0), max((t.batch for t in tests), default=1)
    grows = needed > USUAL_CONTEXT and Path(options.model).suffix != ".hfp"
    choice = options.choice(options.ctx or (needed if grows else None), slots, draft)
    opened = open_model(options.model, choice, draft != OFF and options.draft_acceptance is None)
    for test in tests:
        check_workload(test, opened.model)
    with spinner("measuring memory") as say:
        name, memory_gb_s = memory_speed(opened.model, options.threads or thread_count())
        results = []
        for test in tests:
            say(f"measuring {test.name}")
            results.append(measure(test, opened, options.repetitions, name, memory_gb_s))
        say("measuring drafts")
        rows = lengths(options.draft_rows)
        drafted = (
            measure_drafts(opened, options.draft_tokens, options.draft_acceptance, rows, max(depths))
            if draft != OFF
            else []
        )
    if options.save or options.compare or options.share:
        choices = {name: getattr(options, name) for name in ("kv", "profile", "threads", "ctx", "format")}
        record = record_of(options.model, choices, results)
        if options.save:
            save_record(record, options.save)
        if options.share:
            write_whole(options.share, shared(record).encode(), "the measurements")
    if options.as_json:
        print(json.dumps([asdict(r) for r in (*results, *drafted)], indent=1))
        return
    compared = comparison(before, record) if before else ""
    print("\n\n".join(part for part in (show(results), compared, show_drafted(drafted)) if part))


def measure_drafts(
    opened: OpenModel, tokens: int, acceptance: float | None, rows: Sequence[int], depth: int
) -> list[Drafted | Synthetic]:
    """On real texts, or with an assumed acceptance at `depth` tokens of context."""
    if opened.speculation is None:
        raise HfcError(
            "the plan cannot verify drafts: it keeps no rows uncommitted", hint="compile it without --draft off"
        )
    if acceptance is not None:
        return [measure_synthetic(opened.model, acceptance, n, tokens, max(depth, 16)) for n in rows]
    return measure_genres(opened, tokens)


def lengths(text: str, zero: bool = False) -> list[int]:
    """ "128,512" as numbers; "0" or "" is no test, unless `zero` is a number like others."""
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise HfcError(f"{text!r} is not a list of token counts like 128,512") from None
    if any(n < 0 for n in numbers):
        raise HfcError(f"{text!r}: token counts cannot be below 0")
    return [n for n in numbers if n or zero]


def memory_speed(model: Model, threads: int) -> tuple[str, float]:
    """The device's name, and how fast its memory is, in GB/s."""
    if isinstance(model, StagedModel):
        found = [memory_speed(stage, threads) for stage in model.stages]
        moved = [weight_bytes_of(stage.plan) for stage in model.stages]  # one stage after the other
        return " + ".join(name for name, _ in found), sum(moved) / sum(n / s for n, (_, s) in zip(moved, found))
    if isinstance(model, RankedModel):
        found = [memory_speed(rank, threads) for rank in model.ranks]
        if isinstance(model.ranks[0], HostModel):
            return f"{len(found)} ranks of the host", found[0][1]  # one memory
        return " + ".join(name for name, _ in found), sum(speed for _, speed in found)
    if isinstance(model, GpuModel):
        return model.driver.info.name, copy_bandwidth_gb_s(model.driver)
    if isinstance(model, NullModel):
        return "null", read_bandwidth_gb_s(threads)
    return f"host, {threads} thread(s)", read_bandwidth_gb_s(threads)


def weight_bytes_of(plan: Plan) -> int:
    return sum(weight_sizes(plan).values())


def show(results: Sequence[Measurement]) -> str:
    if not results:
        return ""
    header = ("test", "tok/s", "min", "max", "GB/s", "of memory speed", "launches/token", "host us", "device us")
    rows = [
        (r.test, r.tok_s, r.min, r.max, *map(_or_dash, (r.gb_s, _percent(r), r.launches_per_token, r.host_us_per_step, r.device_us_per_step)))
        for r in results
    ]  # fmt: skip
    profile = f"; profile {results[0].profile}" if results[0].profile else ""
    return f"{table(header, rows)}\n{results[0].device}: memory moves {results[0].memory_gb_s:.1f} GB/s{profile}"


def show_drafted(results: Sequence[Drafted | Synthetic]) -> str:
    if not results:
        return ""
    if isinstance(results[0], Synthetic):
        rows = [(r.test, r.tok_s, r.plain_tok_s, f"{r.speedup:.2f}x", r.rows, r.draft or "-") for r in results]
        return table(("test", "tok/s", "plain", "speed-up", "rows", "draft"), rows)
    header = ("text", "tok/s", "plain", "speed-up", "tokens a cycle", "accepted", "equal", "loops", "governor")
    rows = [
        (r.test, r.tok_s, r.plain_tok_s, f"{r.speedup:.2f}x", _or_dash(r.tau), f"{r.accepted} of {r.drafted}", "yes" if r.is_equal else "NO",
         f"{r.loops} of {r.prompts}", r.reason)
        for r in results
    ]  # fmt: skip
    text = table(header, rows)
    if any(r.loops for r in results):
        text += "\nTexts that run into loops are easy to draft: their speed says nothing about others."
    if not results[0].is_templated:
        text += "\nThe model has no chat template: it went on with bare text."
    return text


def _percent(result: Measurement) -> str | None:
    return None if result.bandwidth_share is None else f"{100 * result.bandwidth_share:.0f} %"


def _or_dash(value: float | str | None) -> float | str:
    return "-" if value is None else value

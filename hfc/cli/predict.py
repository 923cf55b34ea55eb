"""`hfc predict`: tokens a second on a card that is not here, launch by launch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.progress import spinner
from hfc.cli.open_model import ModelChoice, open_bundle, resolve
from hfc.cli.table import table
from hfc.compiler import DEFAULT_CONTEXT
from hfc.plan import Bundle, Plan
from hfc.predict.cards import CARDS, described, find_cards
from hfc.predict.hosted import HostedTime, hosted_text, hosted_time
from hfc.predict.launch import Site
from hfc.predict.program import Calls, Estimate, LaunchSampler, estimate
from hfc.predict.ranks import RankTime, rank_text, rank_time
from hfc.predict.report import HEADER, as_objects, as_trace, heading, rows
from hfc.program import Program
from hfc.runtime.executor import plan_for
from hfc.target.arch import Arch, CardSpec
from hfc.target.timing import clock_ghz, timing_of

PROMPT, DECODE = 512, 128  # tokens, where nothing is said and the model takes as many


@dataclass(frozen=True)
class PredictOptions:
    """What `hfc predict` was told: a field for each parameter of its usage, where their meaning stands (cli/usage/predict.py)."""

    model: str | None
    card: str | None
    prompt: int | None
    decode: int | None
    context: int
    as_json: bool
    trace: Path | None
    list_cards: bool
    units: int | None
    ghz: float | None
    gb_s: float | None
    host_gb_s: float | None
    blocks: int
    format: str | None
    kv: str | None
    profile: str | None
    experts: str | None
    tensor_parallel: int | None
    link_gb_s: float | None
    weights: str | None

    def choice(self, arch: Arch) -> ModelChoice:
        device = ",".join([f"null:{arch.name}"] * (self.tensor_parallel or 1))
        return ModelChoice(
            device, None, None, self.kv, self.weights, format=self.format, experts=self.experts,
            tensor_parallel=self.tensor_parallel, profile=self.profile,
        )  # fmt: skip

    def lengths(self, most: int | None = None) -> tuple[int, int]:
        """Tokens of the prompt and of the answer: what was said, else the usual ones, as far as a plan of `most` tokens takes them."""
        prompt = PROMPT if most is None else min(PROMPT, most)
        decode = DECODE if most is None else max(1, min(DECODE, most - self.context))
        return prompt if self.prompt is None else self.prompt, decode if self.decode is None else self.decode


OPTIONS = PredictOptions


def command(options: PredictOptions) -> None:
    """Predict a model's speed on one card, or on all cards of an architecture."""
    if options.list_cards:
        print(known_cards())
        return
    if not options.model or not options.card:
        raise HfcError("hfc predict needs a model and --card", hint="hfc predict --cards lists the cards")
    if options.prompt == 0 and options.decode == 0:
        raise HfcError("-p 0 -n 0: there is nothing to predict")
    prompt, decode, context = *options.lengths(), options.context
    wanted = find_cards(options.card)
    arch = wanted[0][0]
    bundle = _bundle(options.model, arch, options.choice(arch), prompt, context + decode)
    plan = _plan(bundle, arch)
    prompt, decode = options.lengths(plan.context)
    with spinner(f"running samples of {plan.arch}'s kernels"):
        calls = list(_calls(bundle, plan, prompt, decode, context, options.blocks))
    found = []
    for known_arch, known in wanted:
        site = described(known_arch, known, options.units, options.ghz, options.gb_s)
        found.append((known.name, site, [estimate(step, site) for step in calls]))
    if options.trace:
        options.trace.write_text(json.dumps(as_trace(found)))
    beside = bundle.experts_of(plan)
    hosted = [hosted_time(beside, len(step.step.tokens), options.host_gb_s) for step in calls] if beside else []
    ranks = (
        [rank_time(plan, arch, Program(s.step.rows_class), len(s.step.tokens), options.link_gb_s) for s in calls]
        if plan.rank
        else []
    )
    _print(found, options.as_json, hosted, ranks)


def _plan(bundle: Bundle, arch: Arch) -> Plan:
    """What is predicted of a bundle: its plan for the arch; of equal ranks the first."""
    first = next(iter(bundle.plans.values()))
    return first if bundle.is_ranked and first.arch == arch.name else plan_for(bundle, arch.name)


def known_cards() -> str:
    header = ("card", "arch", "CUs", "GB/s", "GHz", "gap us", "decode")
    return table(header, [_card_row(name, arch, card) for name, (arch, card) in CARDS.items()])


def _card_row(name: str, arch: Arch, card: CardSpec) -> tuple:
    timing = timing_of(arch)
    kind = "absolute" if timing.absolute else "ranking"
    ghz = round(clock_ghz(arch, card), 2)
    return (name, arch.name, card.compute_units, card.bandwidth_gb_s, ghz, timing.launch_us, kind)


def _bundle(model: str, arch: Arch, choice: ModelChoice, prompt: int, end: int) -> Bundle:
    source = resolve(model)
    if source.kind != "bundle":
        needed = max(prompt, end)  # a short context is the compiler's to choose: few models were made for less
        choice = replace(choice, context=needed if needed > DEFAULT_CONTEXT else None)
    return open_bundle(source, choice)


def _calls(bundle: Bundle, plan: Plan, prompt: int, decode: int, context: int, blocks: int) -> Iterator[Calls]:
    """The steps that are predicted: a prompt's, of as many rows as the plan takes at a time, and decoding in the middle."""
    sampler = LaunchSampler(bundle, plan.name, blocks)
    if max(prompt, context + decode) > plan.context:
        raise HfcError(
            f"{max(prompt, context + decode)} tokens are more than the plan's context of {plan.context}",
            hint="compile the model with a larger --ctx",
        )
    if prompt:
        tokens = min(prompt, plan.max_rows)
        yield sampler.calls(tokens, max(tokens, (prompt + tokens) // 2))
    if decode:
        yield sampler.calls(1, max(1, context + decode // 2))


def _print(
    found: list[tuple[str, Site, list[Estimate]]], json_wanted: bool, hosted: list[HostedTime], ranks: list[RankTime]
) -> None:
    if json_wanted:
        objects = [as_objects(*each) for each in found]
        beside = {name: list(map(asdict, times)) for name, times in (("hosted", hosted), ("exchanges", ranks)) if times}
        print(json.dumps([{**each, **beside} for each in objects], indent=1))
        return
    for name, site, estimates in found:
        print(f"{name}: {site.arch.name}, {site.units} units at {site.ghz:.2f} GHz, {site.gb_s:.0f} GB/s")
        for number, each in enumerate(estimates):
            print(heading(each, site))
            print(table(HEADER, rows(each)))
            if hosted:
                print(hosted_text(hosted[number], each))
            if ranks:
                print(rank_text(ranks[number], each))
            print()

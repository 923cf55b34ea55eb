"""`hfc fit`: what a model needs on a card, before anything is loaded or compiled."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.bundles import load_bundle
from hfc.cli.compile import AUTO_STAGES, model_of
from hfc.cli.experts import fitted_experts
from hfc.cli.open_model import resolve
from hfc.cli.stages import auto_stages
from hfc.compiler import CompileOptions, CompilerInput, chosen_settings, open_source, outline
from hfc.passes.balance import StagePlace
from hfc.passes.settings import ON_DEVICE
from hfc.passes.stages import parse_stages
from hfc.plan import Plan
from hfc.predict.cards import find_cards
from hfc.runtime.fit import need_of, table
from hfc.runtime.speculate.drafts import check_draft
from hfc.target.arch import find_arch

GIB = 1 << 30
UNITS = {"": GIB, "m": 1 << 20, "g": GIB}
MOST_GIB = 4096  # a larger number without a unit was meant as something else


def command(
    model: str,
    vram: str | None,
    stages: str | None,
    ctx: int | None,
    slots: int,
    kv: str | None,
    experts: str | None,
    tensor_parallel: int | None,
    format: str | None,
    arch: str,
    weights: str | None,
    draft: str,
    card: str | None,
) -> None:
    """Print the memory plan: weights, scratch, state, the largest context. Exit code 1 if it does not fit."""
    check_draft(draft)
    found = resolve(model)
    if card:
        known_arch, known = find_cards(card)[0]
        arch, vram = known_arch.name, vram or f"{known.memory_gb}G"
    if vram is None:
        raise HfcError("hfc fit needs --vram or --card", hint="--vram 24G, --card 'RX 7900 XTX'")
    if found.kind == "bundle":
        given = {
            "--ctx": ctx,
            "--kv": kv,
            "--experts": experts,
            "--tensor-parallel": tensor_parallel,
            "--stages": stages,
        }
        flags = [flag for flag, value in given.items() if value is not None] + ["--slots"] * (slots != 1)
        if flags:
            raise HfcError(f"{flags[0]}: {found.path.name} is compiled already", hint=f"leave {', '.join(flags)} out")
        fit_bundle(found.path, arch, vram)
        return
    source = open_source(found.path, weights, format, model_of(draft, None, tensor_parallel or 1))
    if stages:
        fit_stages(source, stages, arch.split(","), vram, CompileOptions(kv=kv, ctx=ctx, slots=slots))
        return
    memory = size_of(vram)
    ranks = tensor_parallel or 1
    options = CompileOptions(kv=kv, ctx=ctx, slots=slots, experts=experts or ON_DEVICE, tensor_parallel=ranks)
    if ranks > 1:
        fit_ranks(source, arch, memory, options)
        return
    if options.experts == AUTO_STAGES:
        options = replace(options, experts=fitted_experts(source, [arch], memory, options))
    settings, *beside = chosen_settings(source, [arch], options)
    need = need_of(outline(source, settings))
    print(table(need, memory, source.context_limit))
    for host in beside:
        print(hosted_text(outline(source, host)))
    if need.total > memory:
        print(f"does not fit {memory / GIB:g} GiB: {need.total - memory:,} bytes too many")
        raise SystemExit(1)
    print(f"fits {memory / GIB:g} GiB" + (f"; how fast it is: hfc predict {model} --card {card!r}" if card else ""))


def fit_bundle(path: Path, arch: str, vram: str) -> None:
    """A table for each plan of an architecture: one, or those of stages or ranks. Exit code 1 if one does not fit."""
    bundle = load_bundle(path)
    plans = [plan for plan in bundle.plans.values() if plan.arch == arch and not plan.parts]
    if not plans:
        raise unknown("architecture in the bundle", arch, [plan.arch for plan in bundle.plans.values()])
    fits = True
    for plan, memory in zip(plans, sizes_of(vram, len(plans)), strict=True):
        need = need_of(plan)
        is_enough = need.total <= memory
        fits = fits and is_enough
        verdict = "fits" if is_enough else f"does not fit, {need.total - memory:,} bytes too many"
        print(f"{plan.name} in {memory / GIB:g} GiB: {verdict}\n{table(need, memory, is_compiled=True)}\n")
    if not fits:
        raise SystemExit(1)


def fit_ranks(source: CompilerInput, arch: str, memory: int, options: CompileOptions) -> None:
    """The table of the rank that needs most. Exit code 1 if it does not fit."""
    plans = [outline(source, settings) for settings in chosen_settings(source, [arch], options)]
    need = max((need_of(plan) for plan in plans), key=lambda one: one.total)
    print(table(need, memory, source.context_limit))
    if need.total > memory:
        print(f"a rank does not fit {memory / GIB:g} GiB: {need.total - memory:,} bytes too many")
        raise SystemExit(1)
    print(f"each of {len(plans)} ranks fits {memory / GIB:g} GiB")


def hosted_text(plan: Plan) -> str:
    """What the experts on the host take there."""
    need = need_of(plan)
    return (
        f"in host memory: experts of {len(plan.parts)} layer(s), {need.weights / 2**20:,.1f} MiB, "
        f"and {need.scratch / 2**20:,.1f} MiB of scratch"
    )


def fit_stages(source: CompilerInput, stages: str, archs: list[str], vram: str, options: CompileOptions) -> None:
    """A table for each stage. Exit code 1 if one does not fit."""
    if stages == AUTO_STAGES:
        sizes = sizes_of(vram, len(archs))
        places = [StagePlace(find_arch(name), memory) for name, memory in zip(archs, sizes, strict=True)]
        ranges = auto_stages(source, places, options)
    else:
        archs, ranges = parse_stages(stages)
        sizes = sizes_of(vram, len(archs))
    fits = True
    for settings, memory in zip(chosen_settings(source, archs, replace(options, stages=ranges)), sizes, strict=True):
        plan = outline(source, settings)
        need = need_of(plan)
        is_enough = need.total <= memory
        fits = fits and is_enough
        missing = "" if is_enough else f": does not fit, {need.total - memory:,} bytes too many"
        print(f"stage {plan.name} in {memory / GIB:g} GiB{missing}\n{table(need, memory, source.context_limit)}\n")
    if not fits:
        raise SystemExit(1)
    print("every stage fits")


def sizes_of(vram: str, stages: int) -> list[int]:
    """The memory of each stage; one size is each one's."""
    sizes = [size_of(text) for text in vram.split(",")]
    if len(sizes) not in (1, stages):
        raise HfcError(f"--vram {vram}: {len(sizes)} sizes for {stages} stages")
    return sizes * stages if len(sizes) == 1 else sizes


def size_of(text: str) -> int:
    """ "24G" -> 25769803776; a bare "24" is GiB, as on the box. Raises HfcError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mg]?)i?b?", text.strip().lower())
    if not match or (not match[2] and float(match[1]) > MOST_GIB):
        raise HfcError(f"--vram {text}: expected a size like 24G or 16384M", hint="a number alone is GiB")
    return int(float(match[1]) * UNITS[match[2]])

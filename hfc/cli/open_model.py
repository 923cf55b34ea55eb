"""MODEL and options to a model that runs: a bundle is loaded, the rest is compiled first, in a process of its own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.base.orphans import as_child
from hfc.base.progress import progress_bar
from hfc.base.system import memory_bytes
from hfc.bundles import load_bundle
from hfc.cli.choice import ModelChoice
from hfc.cli.compiled_before import find_compiled, index_key, keep_compiled
from hfc.cli.device import announce, device_for
from hfc.cli.remake import remade_choice, runs_here
from hfc.plan import Bundle, Plan
from hfc.runtime.decoding.model import Model
from hfc.runtime.executor import (
    OPENERS,
    arch_of_device,
    joined_plan_for,
    load,
    split_device,
    split_devices,
    weights_path,
)
from hfc.runtime.registry import REGISTRY, find_local
from hfc.runtime.source import NotHere, Source, find_source, is_path
from hfc.runtime.speculate.drafts import AUTO, DRAFTS, check_draft, speculation_for
from hfc.runtime.speculate.speculator import Speculation
from hfc.runtime.vocabulary import Vocabulary, load_vocabulary
from hfc.target.profiles import AUTO_PROFILE

MEMORY_STEP = 512 << 20
ON_DEVICE, ON_HOST = "device", "host"  # of --experts


@dataclass(frozen=True)
class OpenModel:
    """plan: None for the interpreter.  vocabulary: None if it was not asked for.  speculation: None decodes plainly."""

    model: Model
    plan: Plan | None
    vocabulary: Vocabulary | None
    speculation: Speculation | None = None


def open_model(name: str, choice: ModelChoice, with_vocabulary: bool = False, is_brief: bool = False) -> OpenModel:
    """Find, compile if need be, and load. is_brief: the vocabulary is for a few short texts."""
    source = resolve(name)
    check_draft(choice.draft)
    # A bundle's context was fixed when it was compiled.
    fits = choice.fits_memory and source.kind != "bundle"
    choice = replace(choice, draft=own_draft(name, choice.draft), fits_memory=fits)
    opened = {source.path: load_bundle(source.path)} if source.kind == "bundle" else {}
    chosen = device_for(
        choice.device, [source], choice.weights, opened=opened, experts=choice.experts, ranks=choice.tensor_parallel
    )
    choice = replace(choice, device=chosen.device)
    if choice.device == "interpret":
        # The interpreter is part of the compiler's side: it is loaded only when asked for.
        return importlib.import_module("hfc.cli.interpret").open_interpreted(source, choice, with_vocabulary)
    check_weights(source, choice)
    with ThreadPoolExecutor(1) as pool:
        # Beside the compiler, which is a process of its own: a vocabulary of 248,000 tokens takes a second.
        is_known = with_vocabulary and source.kind == "checkpoint"
        reading = pool.submit(load_vocabulary, choice.weights or source.path, is_brief) if is_known else None
        bundle = open_bundle(source, choice, opened.get(source.path))
        vocabulary = reading.result() if reading else None
    plan = joined_plan_for(bundle, choice.device) if chosen.text else None
    announce(chosen, plan, bundle.experts_of(plan) if plan else None)
    return load_opened(bundle, choice, with_vocabulary, vocabulary, is_brief)


def load_opened(
    bundle: Bundle,
    choice: ModelChoice,
    with_vocabulary: bool = False,
    vocabulary: Vocabulary | None = None,
    is_brief: bool = False,
) -> OpenModel:
    """Load a bundle on the chosen device. vocabulary: that of its weights, where it was read already."""
    # The vocabulary first: reading it takes memory for a moment, and that must not come on top of the weights.
    if with_vocabulary and vocabulary is None:
        vocabulary = load_vocabulary(weights_path(bundle, choice.weights), is_brief)
    with progress_bar("loading", "weights") as update:
        model = load(bundle, choice.device, choice.threads, choice.weights, update, choice.random_weights)
    trained = bundle.model.get("context", 0)
    if choice.fits_memory and choice.context is None and model.context < trained:
        print(
            f"context: {model.context} tokens fit (the model was trained for {trained}; --ctx chooses)", file=sys.stderr
        )
    return OpenModel(model, model.plan, vocabulary, speculation_for(model.plan, choice.draft))


def own_draft(model: str, draft: str) -> str:
    """The draft that the registry names for MODEL, where it was fetched; else what was asked for."""
    if draft != AUTO or is_path(model):
        return draft
    entry = REGISTRY.get(model)
    if entry is None or not entry.draft:
        return draft
    path = find_local(REGISTRY[entry.draft])
    return str(path) if path else draft


def resolve(name: str) -> Source:
    """The source that MODEL names, fetched and quantized first if need be, with a display of that."""
    try:
        return find_source(name)
    except NotHere as missing:
        # What talks to the hub takes a third of a second to import: only who fetches waits for it.
        return importlib.import_module("hfc.cli.fetching").get_model(missing)


def open_bundle(source: Source, choice: ModelChoice, opened: Bundle | None = None) -> Bundle:
    """The bundle of a source, compiled for the chosen device unless it is one. opened: that one, where it was read already."""
    if source.kind != "bundle":
        return _compile(source, choice)
    bundle = opened or load_bundle(source.path)
    _refuse_changes(source, bundle, choice)
    bundle = replace(bundle, trusted=choice.trust)
    reason = runs_here(bundle, choice)
    return _compile(*remade_choice(source.path, bundle, choice, reason)) if reason else bundle


def _compile(source: Source, choice: ModelChoice) -> Bundle:
    """What `hfc compile` makes of it, or made of it before.

    It is run as a child: the compiler's memory is gone when the model runs, and whatever ends this process ends both."""
    words = compile_words(choice)
    beside = [path for path in (choice.weights, choice.draft) if path and path not in DRAFTS]
    key = index_key(source.path, words, beside)
    found = find_compiled(key)
    if found and not runs_here(found, choice):
        return found
    with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
        out = Path(folder) / "model.hfp"
        command = [sys.executable, "-m", "hfc", "compile", str(source.path), "-o", str(out), "--quiet", *words]
        code = subprocess.run(command, check=False, env=as_child(os.environ)).returncode
        if code:
            raise SystemExit(code)  # the child has said why
        keep_compiled(key, out.read_bytes())
        return load_bundle(out)


def compile_words(choice: ModelChoice) -> list[str]:
    """The options of `hfc compile` for what was chosen."""
    options = {
        "--arch": ",".join(arch_of_device(device) for device in split_devices(choice.device)),
        "--weights": choice.weights,
        "--kv": choice.kv,
        "--profile": choice.profile,
        "--ctx": choice.context,
        "--slots": choice.slots,
        "--format": choice.format,
        "--draft": choice.draft,
        "--max-rows": choice.max_rows,
        "--experts": choice.experts,
    }
    if (choice.tensor_parallel or 1) > 1:
        options |= rank_options(choice)
    elif len(split_devices(choice.device)) > 1:
        options |= stage_options(choice)
    fits = (choice.fits_memory and choice.context is None) or choice.experts == AUTO
    if fits and (memory := choice.memory or plan_memory(choice.device)):
        options["--memory"] = f"{memory >> 20}M"
    words = [str(w) for option, value in options.items() if value is not None for w in (option, value)]
    return words + [w for tap in choice.taps for w in ("--tap", tap)]


def stage_options(choice: ModelChoice) -> dict[str, str]:
    """What `hfc compile` is told of a pipeline over the chosen devices: its layers where they are known, else what each can hold."""
    if choice.stages:
        return {"--stages": choice.stages}
    memories = [plan_memory(device) for device in split_devices(choice.device)]
    known = {"--stage-memory": ",".join(f"{m >> 20}M" for m in memories)} if all(memories) else {}
    return {"--stages": "auto", **known}


def rank_options(choice: ModelChoice) -> dict[str, str]:
    """What `hfc compile` is told of ranks on the chosen devices, which must be equal."""
    archs = dict.fromkeys(arch_of_device(device) for device in split_devices(choice.device))
    ranks, devices = choice.tensor_parallel, len(split_devices(choice.device))
    if len(archs) > 1:
        raise HfcError(
            f"--tensor-parallel {ranks} on {choice.device}: the devices are {', '.join(archs)}, and must be of one architecture",
            hint="leave --tensor-parallel out: unequal devices are the stages of a pipeline",
        )
    if devices != ranks and choice.device != "null":
        raise HfcError(f"--tensor-parallel {ranks}: --devices names {devices}", hint="name as many devices")
    return {"--arch": next(iter(archs)), "--tensor-parallel": str(ranks)}


def plan_memory(device: str) -> int | None:
    """Bytes that a plan may take: what a card has free, half of the machine's memory for the host; in steps, so that an equal plan is
    found again. None for devices that compute nothing, and for several: each has its own."""
    if len(split_devices(device)) > 1:
        return None
    kind, which = split_device(device)
    if kind in OPENERS:
        free = OPENERS[kind](int(which or 0)).free_memory()
        return free // MEMORY_STEP * MEMORY_STEP
    if kind != "host":
        return None
    return memory_bytes() // 2 // MEMORY_STEP * MEMORY_STEP


def check_weights(source: Source, choice: ModelChoice) -> None:
    """Refuse what has no weights before anything is compiled."""
    kinds = {split_device(device)[0] for device in split_devices(choice.device)}
    if choice.random_weights and "host" in kinds:
        raise HfcError(
            "--random-weights: the host device reads weights from a checkpoint", hint="use a GPU, or give --weights"
        )
    if source.path.suffix == ".json" and kinds != {"null"} and not (choice.weights or choice.random_weights):
        raise HfcError(
            f"{source.path}: a config has no weights", hint="add --weights CHECKPOINT, or --random-weights to measure"
        )


def _refuse_changes(source: Source, bundle: Bundle, choice: ModelChoice) -> None:
    """What was decided when a bundle was compiled cannot be decided again."""
    contexts = sorted({plan.context for plan in bundle.plans.values()})
    if choice.context is not None and [choice.context] != contexts:
        raise HfcError(
            f"--ctx {choice.context}: {source.path.name} was compiled for a context of {contexts[0]}",
            hint="leave --ctx out, or compile the model again with it",
        )
    profiles = sorted({plan.profile for plan in bundle.plans.values()})
    if choice.profile not in (None, AUTO_PROFILE) and [choice.profile] != profiles:
        raise HfcError(
            f"--profile {choice.profile}: {source.path.name} was compiled in {' and '.join(profiles)}",
            hint=f"compile the model again with --profile {choice.profile}",
        )
    compiled = ON_HOST if any(plan.parts for plan in bundle.plans.values()) else ON_DEVICE
    if choice.experts not in (None, AUTO, compiled):
        raise HfcError(
            f"--experts {choice.experts}: {source.path.name} was compiled with experts on the {compiled}",
            hint="give --experts to `hfc compile`",
        )
    ranks = len(bundle.plans) if bundle.is_ranked else 1
    if choice.tensor_parallel not in (None, ranks):
        raise HfcError(
            f"--tensor-parallel {choice.tensor_parallel}: {source.path.name} was compiled for {ranks}",
            hint="give --tensor-parallel to `hfc compile`",
        )
    if knob("HFC_MODEL_FILE"):
        raise HfcError(
            f"--model-file: {source.path.name} is compiled already, and carries the model file that it was made from",
            hint="compile the model again with it",
        )
    if choice.kv is not None:
        raise HfcError(f"--kv {choice.kv}: {source.path.name} is compiled already", hint="give --kv to `hfc compile`")

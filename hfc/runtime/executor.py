"""A bundle and a device to a model that runs: the door that `run`, `logits`, `bench` and later `serve` use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.base.system import thread_count
from hfc.bundles import load_bundle
from hfc.formats.checkpoint import Checkpoint, joined, open_checkpoint
from hfc.plan import Bundle, Plan
from hfc.runtime.gpu import GpuModel
from hfc.runtime.host import HostModel
from hfc.runtime.null import NullModel
from hfc.runtime.peer import Sender, kept_on_device
from hfc.runtime.pipeline.model import StagedModel, pipeline_of
from hfc.runtime.pipeline.plan import joined_plan
from hfc.runtime.pipeline.process import Opening, ProcessStage
from hfc.runtime.pipeline.worker import StageModel
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.ranks.cards import unreached
from hfc.runtime.ranks.model import RankedModel, RankModel, ranked
from hfc.runtime.registry import name_of_path
from hfc.runtime.slots import SlotStates, slot_states
from hfc.runtime.upload import CheckpointWeights
from hfc.runtime.weights import Progress

DEVICES = ("host", "hip", "cuda", "null")
# Imported with their vendor's package when a card is opened: that takes longer than all the rest of a start.
OPENERS = {
    "hip": lambda index: importlib.import_module("hfc.runtime.hip").open_device(index),
    "cuda": lambda index: importlib.import_module("hfc.runtime.cuda").open_device(index),
}

Loaded = HostModel | GpuModel | NullModel | StagedModel | RankedModel
PROCESS = "process:"  # before a device: its stage runs in a process of its own


def load(
    bundle: Bundle | str | Path,
    device: str = "host",
    threads: int | None = None,
    weights: str | Path | None = None,
    progress: Progress | None = None,
    random_weights: bool = False,
) -> Loaded:
    """device: "host", "hip", "cuda" (also "hip:1" for the second card), "null" or "null:ARCH"; of a pipeline one for each stage, with
    commas between, "process:" before those that are to have a process of their own.

    weights: another place of the checkpoint than the bundle names.  random_weights: draw them instead (GPUs only).
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    plans = plans_for(bundle, device)
    is_null = split_device(split_devices(device)[0])[0] == "null"
    if bundle.is_ranked and not is_null:
        return _load_ranks(bundle, plans, split_devices(device), threads, weights, progress, random_weights)
    if len(plans) == 1:
        return _load(bundle, plans[0], device, threads, weights, progress, random_weights)
    devices = split_devices(device)
    if is_null:
        return NullModel(joined_plan(plans))
    threads = threads or _share_of_threads(devices)
    stages: list[StageModel] = []
    try:
        for plan, name in zip(plans, devices, strict=True):
            own = (bundle, plan, name.removeprefix(PROCESS), threads, weights)
            if name.startswith(PROCESS):
                stages.append(ProcessStage(plan, Opening(load_stage, (*own, random_weights))))
            else:
                stages.append(_load(*own, progress, random_weights))
    except BaseException:
        for stage in stages:
            stage.close()
        raise
    for note in link_peers(stages):
        print(f"hfc: {note}", file=sys.stderr)
    return pipeline_of(stages)


def _load_ranks(
    bundle: Bundle, plans: Sequence[Plan], devices: Sequence[str], threads: int | None, weights: str | Path | None,
    progress: Progress | None, random_weights: bool,
) -> RankedModel:  # fmt: skip
    """Each rank on its device, with its part of every weight."""
    threads = threads or _share_of_threads(devices)
    loaded: list[RankModel] = []
    try:
        for plan, name in zip(plans, devices, strict=True):
            rank = _load(bundle, plan, name, threads, weights, progress, random_weights)
            assert not isinstance(rank, NullModel), "ranks compute"
            loaded.append(rank)
        note = unreached([rank.driver for rank in loaded if isinstance(rank, GpuModel)])
        if note:
            print(f"hfc: {note}", file=sys.stderr)
        return ranked(loaded)
    except BaseException:
        for rank in loaded:
            rank.close()
        raise


def link_peers(stages: Sequence[StageModel]) -> list[str]:
    """Let stages hand values to each other from card to card where they can; why not, where one might think so."""
    senders = [
        Sender(stage.driver if isinstance(stage, GpuModel) else None, stage.plan.stage.received, stage.plan.stage.sent)
        for stage in stages
    ]
    kept, notes = kept_on_device(senders)
    for stage, names in zip(stages, kept, strict=True):
        if names:
            assert isinstance(stage, GpuModel), "what has no driver keeps nothing"
            stage.keep_sent(names, len(stages) + 1)  # a step in each stage, and one that waits
    return notes


def load_stage(
    bundle: Bundle, plan: Plan, device: str, threads: int | None, weights: str | Path | None, random_weights: bool
) -> tuple[HostModel | GpuModel, SlotStates]:
    """A stage and its slots, in this process."""
    model = _load(bundle, plan, device, threads, weights, None, random_weights)
    return model, slot_states(model)


def _load(
    bundle: Bundle, plan: Plan, device: str, threads: int | None, weights: str | Path | None, progress: Progress | None,
    random_weights: bool,
) -> HostModel | GpuModel | NullModel:  # fmt: skip
    kind, which = split_device(device)
    if kind == "null":
        return NullModel(plan)
    if kind == "host":
        return HostModel(bundle, plan, _checkpoint(bundle, weights), threads, progress)
    driver = OPENERS[kind](int(which or 0))
    source = (
        RandomWeights(plan.context) if random_weights else CheckpointWeights(_checkpoint(bundle, weights), plan.context)
    )
    return GpuModel(bundle, plan, driver, source, progress, threads)


def _share_of_threads(devices: Sequence[str]) -> int:
    """The CPU's cores shared out among the stages that it runs."""
    return max(1, thread_count() // max(1, sum(split_device(name)[0] == "host" for name in devices)))


def split_devices(device: str) -> tuple[str, ...]:
    """The device of each stage."""
    return tuple(part.strip() for part in device.split(","))


def is_host(device: str) -> bool:
    """Whether the model's memory is the machine's, for some of its stages."""
    return any(split_device(part)[0] == "host" for part in split_devices(device))


def split_device(device: str) -> tuple[str, str]:
    """ "hip:1" -> ("hip", "1"), also in a process of its own. Raises HfcError for an unknown device."""
    kind, _, which = device.removeprefix(PROCESS).partition(":")
    if kind not in DEVICES:
        raise unknown("device", device, (*DEVICES, "auto"))
    if kind in OPENERS and which and not which.isdigit():
        raise HfcError(f"device {device!r}: the part after the colon is the number of the card")
    return kind, which


def arch_of_device(device: str) -> str:
    """The arch to compile for: the card's own, the host's, or the one that "null:ARCH" names."""
    kind, which = split_device(device)
    if kind in OPENERS:
        return OPENERS[kind](int(which or 0)).info.arch
    return which or "host"


def plans_for(bundle: Bundle, device: str) -> list[Plan]:
    """The plan for a device; the stages of a pipeline, if each has a device that can run it. HfcError where they do not go together."""
    devices = split_devices(device)
    if not (bundle.is_staged or bundle.is_ranked):
        if len(devices) > 1:
            raise HfcError(
                f"--devices {device}: the bundle is for one device",
                hint="compile it with --stages or --tensor-parallel, or name one device",
            )
        kind, which = split_device(device)
        if kind == "null":
            return [plan_for(bundle, which or next(iter(bundle.plans)))]
        if kind == "host":
            return [plan_for(bundle, "host")]
        info = OPENERS[kind](int(which or 0)).info
        return [plan_for(bundle, info.arch, f"{info.name} is a {info.arch}; ")]
    plans = list(bundle.plans.values())
    if devices == ("null",):
        return plans
    if len(devices) != len(plans):
        names, what = ", ".join(bundle.plans), "ranks" if bundle.is_ranked else "stages"
        raise HfcError(
            f"--devices {device}: the bundle has {len(plans)} {what}, {names}", hint="name a device for each, in order"
        )
    for plan, name in zip(plans, devices):
        if bundle.is_ranked and name.startswith(PROCESS):
            raise HfcError(f"--devices {device}: ranks share the memory of one process", hint="leave process: out")
        arch = arch_of_device(name)
        if arch != plan.arch:
            what = "rank" if plan.rank else "stage"
            raise HfcError(f"--devices {device}: {what} {plan.name} cannot run on {name}, which is {arch}")
    return plans


def joined_plan_for(bundle: Bundle, device: str) -> Plan:
    """What is asked of the plan of a model before it is loaded, whatever runs it."""
    plans = plans_for(bundle, device)
    return plans[0] if len(plans) == 1 else joined_plan(plans)


def plan_for(bundle: Bundle, arch: str, device: str = "") -> Plan:
    if arch not in bundle.plans:
        have = ", ".join(bundle.plans)
        is_one = not (bundle.is_staged or bundle.is_ranked)
        hint = f"compile it with --arch {arch}" if is_one else "name a device for each plan: --devices"
        raise HfcError(f"{device}the bundle has no plan for {arch}, only for {have}", hint=hint)
    return bundle.plans[arch]


def weights_path(bundle: Bundle, given: str | Path | None = None) -> Path:
    """Where the bundle's weights are: where it was compiled, or the place that --weights gives."""
    path = Path(given or bundle.model["weights"])
    if not path.exists():
        name, place = name_of_path(path), "give their new place with --weights"
        raise HfcError(
            f"{path}: the weights that the bundle was compiled for are not there",
            hint=f"hfc pull {name} brings them back, or {place}" if name else place,
        )
    return path


def _checkpoint(bundle: Bundle, weights: str | Path | None) -> Checkpoint:
    path = weights_path(bundle, weights)
    checkpoint = _open(path, bundle.model["kind"])
    draft = bundle.model.get("draft")
    if draft is None:
        return checkpoint
    own, home = Path(draft["weights"]), Path(bundle.model["weights"])
    if own.is_relative_to(home):  # what lies in the model's checkpoint, or beside it in its folder, moves with it
        own = path / own.relative_to(home)
    if not own.exists():
        raise HfcError(f"{own}: the draft that the bundle was compiled with is not there", hint="compile it again")
    return joined(checkpoint, _open(own, draft["kind"]))


def _open(path: Path, kind: str) -> Checkpoint:
    checkpoint = open_checkpoint(path)
    if checkpoint.kind != kind:
        raise HfcError(f"{path} is a {checkpoint.kind} checkpoint, the bundle was compiled for {kind}")
    return checkpoint

"""A bundle and a device to a model that runs: the door that `run`, `logits`, `bench` and later `serve` use."""

from __future__ import annotations

import importlib
from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.bundles import load_bundle
from hfc.formats.checkpoint import Checkpoint, joined, open_checkpoint
from hfc.plan import Bundle, Plan
from hfc.runtime.gpu import GpuModel
from hfc.runtime.host import HostModel
from hfc.runtime.null import NullModel
from hfc.runtime.random_weights import RandomWeights
from hfc.runtime.upload import CheckpointWeights
from hfc.runtime.weights import Progress

DEVICES = ("host", "hip", "cuda", "null")
# Imported with their vendor's package when a card is opened: that takes longer than all the rest of a start.
OPENERS = {
    "hip": lambda index: importlib.import_module("hfc.runtime.hip").open_device(index),
    "cuda": lambda index: importlib.import_module("hfc.runtime.cuda").open_device(index),
}

Loaded = HostModel | GpuModel | NullModel


def load(
    bundle: Bundle | str | Path,
    device: str = "host",
    threads: int | None = None,
    weights: str | Path | None = None,
    progress: Progress | None = None,
    random_weights: bool = False,
) -> Loaded:
    """device: "host", "hip", "cuda" (also "hip:1" for the second card), "null" or "null:ARCH".

    weights: another place of the checkpoint than the bundle names.  random_weights: draw them instead (GPUs only).
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    kind, which = split_device(device)
    if kind == "null":
        return NullModel(plan_for(bundle, which or next(iter(bundle.plans))))
    if kind == "host":
        return HostModel(bundle, plan_for(bundle, "host"), _checkpoint(bundle, weights), threads, progress)
    driver = OPENERS[kind](int(which or 0))
    plan = plan_for(bundle, driver.info.arch, f"{driver.info.name} is a {driver.info.arch}; ")
    source = (
        RandomWeights(plan.context) if random_weights else CheckpointWeights(_checkpoint(bundle, weights), plan.context)
    )
    return GpuModel(bundle, plan, driver, source, progress)


def split_device(device: str) -> tuple[str, str]:
    """ "hip:1" -> ("hip", "1"). Raises HfcError for an unknown device."""
    kind, _, which = device.partition(":")
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


def plan_for(bundle: Bundle, arch: str, device: str = "") -> Plan:
    if arch not in bundle.plans:
        have = ", ".join(bundle.plans)
        raise HfcError(
            f"{device}the bundle has no plan for {arch}, only for {have}", hint=f"compile it with --arch {arch}"
        )
    return bundle.plans[arch]


def _checkpoint(bundle: Bundle, weights: str | Path | None) -> Checkpoint:
    path = Path(weights or bundle.model["weights"])
    if not path.exists():
        raise HfcError(
            f"{path}: the weights that the bundle was compiled for are not there",
            hint="give their new place with --weights",
        )
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

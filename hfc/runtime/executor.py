"""A bundle and a device to a model that runs: the door that `run`, `logits`, `bench` and later `serve` use."""

from __future__ import annotations

from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.formats.checkpoint import Checkpoint, open_checkpoint
from hfc.plan import Bundle, Plan, load_bundle
from hfc.runtime.host import HostModel
from hfc.runtime.null import NullModel
from hfc.runtime.weights import Progress

DEVICES = ("host", "null")


def load(
    bundle: Bundle | str | Path,
    device: str = "host",
    threads: int | None = None,
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> HostModel | NullModel:
    """device: "host", "null", or "null:ARCH".  weights: another place of the checkpoint than the bundle names."""
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    kind, _, arch = device.partition(":")
    if kind not in DEVICES:
        raise unknown("device", device, DEVICES)
    if kind == "null":
        return NullModel(_plan(bundle, arch or next(iter(bundle.plans))))
    plan = _plan(bundle, "host")
    return HostModel(bundle, plan, _checkpoint(bundle, weights), threads, progress)


def _plan(bundle: Bundle, arch: str) -> Plan:
    if arch not in bundle.plans:
        have = ", ".join(bundle.plans)
        raise HfcError(f"the bundle has no plan for {arch}, only for {have}", hint=f"compile it with --arch {arch}")
    return bundle.plans[arch]


def _checkpoint(bundle: Bundle, weights: str | Path | None) -> Checkpoint:
    path = Path(weights or bundle.model["weights"])
    if not path.exists():
        raise HfcError(f"{path}: the weights that the bundle was compiled for are not there", hint="give their new place with --weights")
    checkpoint = open_checkpoint(path)
    if checkpoint.kind != bundle.model["kind"]:
        raise HfcError(f"{path} is a {checkpoint.kind} checkpoint, the bundle was compiled for {bundle.model['kind']}")
    return checkpoint

"""--device to the device that is meant, and the line that says which it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from hfc.base.diagnostics import HfcError
from hfc.bundles import load_bundle
from hfc.plan import Bundle, Plan
from hfc.runtime.devices import AUTO, Chosen, choose_device, find_cards
from hfc.runtime.executor import OPENERS, PROCESS
from hfc.runtime.fit import RESERVE, need_of
from hfc.runtime.source import Source

WEIGHTS = (".safetensors", ".gguf", ".bin", ".hfq")


def device_for(
    device: str, sources: list[Source], weights: str | None = None, *, opened: Mapping[Path, Bundle] = MappingProxyType({}),
    experts: str | None = None, ranks: int | None = None,
) -> Chosen:  # fmt: skip
    """The device for models: it must hold the largest of them. opened: bundles among them that were read already.

    experts: where they are computed; what a card then holds is known when the model is compiled.
    ranks: devices that compute every layer together; as many as a bundle was compiled for."""

    if "," in device:
        return Chosen(stage_devices(device))
    bundles = [opened.get(s.path) or load_bundle(s.path) for s in sources if s.kind == "bundle"]
    ranks = max([ranks or 1, *(len(bundle.plans) for bundle in bundles if bundle.is_ranked)])
    if ranks > 1:
        return Chosen(stage_devices(rank_devices(device, ranks)))

    def needed(arch: str) -> int | str:
        if experts not in (None, "device"):
            return RESERVE
        needs = [need(arch) for need in (_need_of(source, weights, opened) for source in sources)]
        return next((n for n in needs if isinstance(n, str)), max(needs, default=0))

    return choose_device(device, needed)


def stage_devices(devices: str) -> str:
    """The stages' devices by kind and number: "0,1" are cards of the kind that auto takes."""
    return ",".join(_stage_device(part.strip(), devices) for part in devices.split(","))


def rank_devices(device: str, ranks: int) -> str:
    """One device that was named, as so many of its kind: the first ones, or this one and those behind it."""
    chosen = choose_device(device, lambda arch: 0).device
    kind, _, which = chosen.partition(":")
    if kind == "interpret":
        raise HfcError(
            f"--device interpret with {ranks} ranks: it runs whole models", hint="leave --tensor-parallel out"
        )
    if kind not in OPENERS:
        return chosen if chosen == "null" else ",".join([chosen] * ranks)
    return ",".join(f"{kind}:{int(which or 0) + n}" for n in range(ranks))


def _stage_device(part: str, devices: str) -> str:
    name = part.removeprefix(PROCESS)
    if name.isdigit():
        if not find_cards().cards:
            raise HfcError(f"--devices {devices}: there is no card here", hint="hfc doctor says what is missing")
        name = f"{choose_device(AUTO, lambda arch: 0).device.partition(':')[0]}:{name}"
    return part.removesuffix(part.removeprefix(PROCESS)) + choose_device(name, lambda arch: 0).device


def announce(chosen: Chosen, plan: Plan | None = None, beside: Plan | None = None) -> None:
    """One line on standard error: which device, the memory plan, why not the others. Nothing where the user named it.

    beside: the host's plan for experts."""
    if not chosen.text:
        return
    parts = [f"hfc: {chosen.text}"]
    if plan is not None:
        parts += [memory_text(plan, beside), f"profile {plan.profile}"]
    print("; ".join([*parts, *chosen.reasons]), file=sys.stderr, flush=True)


def memory_text(plan: Plan, beside: Plan | None = None) -> str:
    """The memory plan in a line. beside: the host's for experts."""
    need = need_of(plan)
    weights, state, scratch = (f"{n / 2**30:.1f}" for n in (need.weights, need.state, need.scratch))
    hosted = (
        f", experts of {len(beside.parts)} layers {need_of(beside).weights / 2**30:.1f} GiB in host memory"
        if beside
        else ""
    )
    return (
        f"weights {weights} GiB, state {state} GiB for {need.slots} x {need.context} tokens, scratch {scratch}{hosted}"
    )


def _need_of(source: Source, weights: str | None, opened: Mapping[Path, Bundle]) -> Callable[[str], int | str]:
    """Bytes by arch: a bundle's plan says them, of others the weights are known."""
    if source.kind == "bundle":
        plans = (opened.get(source.path) or load_bundle(source.path)).plans
        return lambda arch: need_of(plans[arch]).total if arch in plans else f"the bundle has no plan for {arch}"
    path = Path(weights) if weights else source.path
    files = [path] if path.is_file() else [p for p in path.glob("*") if p.suffix in WEIGHTS]
    size = sum(p.stat().st_size for p in files if p.suffix in WEIGHTS) + RESERVE
    return lambda arch: size

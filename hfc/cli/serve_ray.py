"""`hfc serve --ray`: the address is ours, what answers are replicas that Ray Serve deploys."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.base.system import core_count
from hfc.bundles import load_bundle
from hfc.cli.device import device_for
from hfc.cli.serve import (
    SWITCH_S,
    Draining,
    announced,
    config_of,
    end_of,
    listening_for,
    server_limits,
    server_settings,
)
from hfc.cli.serve_cache import cache_of
from hfc.cli.serve_models import known_models, served_models
from hfc.cli.serve_options import ServeOptions
from hfc.cli.serve_source import USUAL_SLOTS, memory_of, sources_of, usual_slots
from hfc.runtime.chat import template_of_file
from hfc.runtime.devices import AUTO, find_cards
from hfc.runtime.executor import OPENERS, is_host, split_device, split_devices
from hfc.runtime.source import name_of
from hfc.serve.app import make_app
from hfc.serve.ray.door import make_door
from hfc.serve.ray.guards import ReplicaGuard
from hfc.serve.ray.parts import Made
from hfc.serve.ray.settings import RaySettings, check_address, replicas_of
from hfc.serve.served import ServerSettings

# Read by Ray when it is imported: it reports to nobody, and the autoscaler sees requests that came a second ago, not ten.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
# The first is Ray's name for a cluster of one machine: without it its processes listen to all others, whatever address `ray.init` is told. The
# second: calls go Ray's own way, for which replicas need no ports.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0"}
LEAST_CACHE_MB = 64


def serve(options: ServeOptions, keys: tuple[str, ...], first: Sequence[str]) -> None:
    """Deploy, and answer until a signal ends it."""
    ray = ray_settings(options)
    deployment = _ray(ray)
    listener = listening_for(options, keys)
    settings = server_settings(options, keys, first)
    told = options_of_replicas(options, ray)
    ray = with_cards(ray, told.device)
    template = template_of_file(options.chat_template) if options.chat_template else None
    name, slots = _prepared(told, settings, template, ray), told.slots or USUAL_SLOTS
    make = functools.partial(made, told, template)
    with deployment.cluster(ray):
        replicas = deployment.deployed(make, ray, slots, options.queue, options.timeout_s)
        app = make_door(replicas, settings)
        server = Draining(config_of(options, app, listener), options.drain_s)
        server.cut_off = app.state.forward.cut_off
        many = f"{ray.least} to {ray.most}" if ray.grows else f"{ray.most}"
        with announced(server, name, f"{name} ({many} replicas of {slots} slots)", options.scheme):
            server.run([listener])
    end_of(server)


def made(options: ServeOptions, template: str | None) -> Made:
    """In a replica's process: the whole server but its door."""
    models = served_models(options, server_limits(options.limits), template)
    settings = ServerSettings(timeout_s=options.timeout_s, limits=server_limits(options.limits))
    return Made(make_app(models, settings, ReplicaGuard), models, SWITCH_S)


def ray_settings(options: ServeOptions) -> RaySettings:
    """HfcError for what cannot be deployed, by the option's name."""
    told = options.ray
    least, most = replicas_of(told["replicas"])
    if len(options.model or ()) != 1 or options.models:
        raise HfcError("--ray deploys replicas of one model", hint="name one MODEL, and start a server for each")
    if told["address"] is not None:
        check_address(told["address"])
    if options.idle_unload_s:
        raise HfcError(
            "--idle-unload: replicas keep their model", hint="--replicas MIN:MAX and --scale-down end what nobody uses"
        )
    if ":" in options.device and "," not in options.device:
        raise HfcError(
            f"--device {options.device}: Ray gives each replica a card",
            hint=f"--device {options.device.partition(':')[0]}",
        )
    if options.cache_dir and most > 1:
        raise HfcError("--cache-dir: replicas cannot share a folder", hint="leave it out with more than one replica")
    return RaySettings(least, most, told["load"], told["up_s"], told["down_s"], told["address"])


def options_of_replicas(options: ServeOptions, ray: RaySettings) -> ServeOptions:
    """What each is told: no keys, the number of its slots, and on this machine its share of memory and cores."""
    secrets: dict[str, Any] = {
        "api_key": None,
        "api_key_file": None,
        "priority_key_file": None,
        "tls_cert": None,
        "tls_key": None,
        "cors": None,
    }
    told = replace(options, **secrets)
    ((_, source),) = sources_of(options.model or [], None)
    if ray.address is None:
        ranks = options.tensor_parallel
        chosen = device_for(options.device, [source], options.weights, experts=options.experts, ranks=ranks)
        told = replace(told, device=_relative(chosen.device))
    memory = None
    if ray.address is None and is_host(told.device):
        memory = told.memory_mb or (memory_of(told.device) >> 20) // ray.most
        cache = told.cache_mb if told.cache_mb is not None else max(LEAST_CACHE_MB, (cache_of(None) >> 20) // ray.most)
        told = replace(told, threads=told.threads or max(1, core_count() // ray.most), memory_mb=memory, cache_mb=cache)
    if source.kind == "bundle":
        return replace(told, slots=next(iter(load_bundle(source.path).plans.values())).slots)
    return replace(told, slots=told.slots or usual_slots(source.path, memory << 20 if memory else None))


def with_cards(ray: RaySettings, device: str) -> RaySettings:
    """HfcError where this machine has fewer than all replicas need."""
    kinds = [split_device(part)[0] for part in split_devices(device)] if device != AUTO else []
    needed = sum(kind in OPENERS for kind in kinds) if device != AUTO else 1
    if not needed or ray.address is not None:
        return replace(ray, gpus=needed)
    cards = sum(device == AUTO or card.kind in kinds for card in find_cards().cards)
    if cards < needed * ray.most:
        raise HfcError(
            f"--replicas: {ray.most} need {needed * ray.most} cards, and there are {cards} here", hint="--ray-address"
        )
    return replace(ray, gpus=needed, cards=cards)


def _prepared(told: ServeOptions, settings: ServerSettings, template: str | None, ray: RaySettings) -> str:
    """The name of the model; for this machine's CPU it is compiled now, once for all replicas."""
    name = told.name or name_of((told.model or [""])[0])
    if ray.address is None and is_host(told.device):
        (entry,) = known_models(told, settings.limits, template).entries
        assert entry.source is not None
        entry.source.prepare()
    return name


def _relative(device: str) -> str:
    """As a replica sees the cards that Ray gives it: numbered from 0 on."""
    kinds = [split_device(part)[0] for part in split_devices(device)]
    if len(kinds) == 1:
        return kinds[0]
    numbers: dict[str, int] = {}
    for i, kind in enumerate(kinds):
        if kind in OPENERS:
            numbers[kind] = numbers.get(kind, -1) + 1
            kinds[i] = f"{kind}:{numbers[kind]}"
    return ",".join(kinds)


def _ray(ray: RaySettings) -> ModuleType:
    """What talks to Ray."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if ray.address is None:
        os.environ |= ALONE
    try:
        return importlib.import_module("hfc.serve.ray.cluster")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "hfc":
            raise
        raise HfcError(
            f"hfc serve --ray needs Ray Serve ({error.name} is missing)", hint="pip install 'hfc[ray]'"
        ) from error

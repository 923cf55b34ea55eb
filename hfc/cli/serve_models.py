"""The models of `hfc serve`, as its options say."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hfc.base.diagnostics import HfcError
from hfc.cli.device import announce, device_for
from hfc.cli.sampling import template_variables
from hfc.cli.serve_cache import cache_folder_of, cache_of
from hfc.cli.serve_options import ServeOptions
from hfc.cli.serve_source import ModelOnDisk, ServeChoice, device_cache_of, memory_of, plan_bytes_of, sources_of
from hfc.runtime.source import Source
from hfc.serve.errors import ApiError
from hfc.serve.limits import ServerLimits
from hfc.serve.metrics import Meters
from hfc.serve.models import Models
from hfc.serve.stepper import LAST_HIDDEN


def served_models(options: ServeOptions, bounds: ServerLimits, template: str | None) -> Models:
    """What is served; a model alone is loaded. template: in place of its own."""
    served = known_models(options, bounds, template)
    if len(served.entries) == 1:
        _load_first(served, served.entries[0].name)
    return served


def known_models(options: ServeOptions, bounds: ServerLimits, template: str | None) -> Models:
    """The same, none of them loaded."""
    found = sources_of(options.model or [], options.models)
    chosen = device_for(
        options.device,
        [source for _, source in found],
        options.weights,
        experts=options.experts,
        ranks=options.tensor_parallel,
    )
    announce(chosen)
    device = chosen.device
    caches = cache_of(options.cache_mb), device_cache_of(device, options.device_cache_mb)
    memory = options.memory_mb << 20 if options.memory_mb else memory_of(device)
    choice = ServeChoice(
        device, options.threads, options.ctx, options.kv, options.weights, options.slots, (LAST_HIDDEN,),
        *caches, options.prefill_rows, options.queue,
        options.sampling, options.draft, options.random_weights, options.trust, bounds, options.max_tokens,
        template_variables(options.variables, options.think), template,
        plan_bytes_of(device, memory, caches, len(found)), options.max_wait_s, cache_folder_of(options.cache_dir, options.cache_dir_mb),
        options.experts, options.tensor_parallel, options.profile,
    )  # fmt: skip
    meters = Meters()
    sources = _sources(found, choice, meters, options.name)
    if template and len(sources) != 1:
        raise HfcError(f"--chat-template is for one model, and these are {len(sources)}")
    return Models(
        (),
        sources,
        meters,
        memory,
        options.idle_unload_s,
        find=None
        if options.ray["deploys"]
        else lambda name: ModelOnDisk(*sources_of([name], None)[0], replace(choice, template=None), meters),
        aliases=options.alias or (),
    )


def _sources(
    found: list[tuple[str, Source]], choice: ServeChoice, meters: Meters, name: str | None
) -> list[ModelOnDisk]:
    sources = [ModelOnDisk(found_name, source, choice, meters) for found_name, source in found]
    if len(sources) > 1 and (name or choice.weights):
        raise HfcError(f"{'--name' if name else '--weights'} is for one model, and these are {len(sources)}")
    return [replace(sources[0], name=name)] if name else sources


def _load_first(models: Models, name: str) -> None:
    """A model alone is loaded before anybody asks: what is wrong with it shows now."""
    try:
        asyncio.run(models.preload(name))
    except ApiError as error:
        raise HfcError(error.message) from error

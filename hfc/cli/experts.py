"""--experts auto: as few layers' experts in host memory as let the rest fit a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hfc.base.diagnostics import HfcError
from hfc.compiler import DEFAULT_CONTEXT, CompileOptions, CompilerInput, chosen_settings, outline
from hfc.passes.host_experts import mixture_bytes
from hfc.passes.settings import ON_DEVICE, ON_HOST
from hfc.runtime.fit import need_of
from hfc.target.arch import find_arch


def fitted_experts(opened: CompilerInput, archs: Sequence[str], memory: int | None, options: CompileOptions) -> str:
    """What --experts auto means for a card of so much memory, with the context that is asked for or the usual one."""
    cards = [name for name in archs if find_arch(name).platform.is_gpu]
    sizes = mixture_bytes(opened.graph())
    if not cards or not sizes:
        return ON_DEVICE
    if memory is None:
        raise HfcError("--experts auto: how much memory the card has is not known", hint="--memory 24G, or --experts N")
    context = options.ctx or min(DEFAULT_CONTEXT, opened.context_limit)
    least = replace(options, ctx=context)

    def needed(experts: str) -> int:
        return need_of(outline(opened, chosen_settings(opened, cards[:1], replace(least, experts=experts))[0])).total

    missing = needed(ON_DEVICE) - memory
    if missing <= 0:
        return ON_DEVICE
    layers = next((n for n in range(1, len(sizes)) if sum(sizes[:n]) >= missing), len(sizes))
    while layers < len(sizes) and needed(f"{ON_HOST}:{layers}") > memory:  # what crosses takes some memory too
        layers += 1
    return ON_HOST if layers == len(sizes) else f"{ON_HOST}:{layers}"

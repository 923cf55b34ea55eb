"""The plans of a pipeline's stages as one: what is asked of a model's plan, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hfc.plan import Launch, Plan
from hfc.program import Program


def joined_plan(plans: Sequence[Plan]) -> Plan:
    """Weights, tables, states and launches of all stages or ranks, in their order. Nothing runs it: its buffers lie in several memories."""
    programs: dict[Program, tuple[Launch, ...]] = {}
    for plan in plans:
        for name, launches in plan.programs.items():
            programs[_common(name, plans)] = (*programs.get(_common(name, plans), ()), *launches)
    return replace(
        plans[-1],
        arch="+".join(plan.arch for plan in plans),
        arena_bytes=sum(plan.arena_bytes for plan in plans),
        buffers=tuple(buffer for plan in plans for buffer in plan.buffers),
        weights=tuple(ref for plan in plans for ref in plan.weights),
        consts=tuple(ref for plan in plans for ref in plan.consts),
        states=tuple(state for plan in plans for state in plan.states),
        kernels=tuple({kernel.symbol: kernel for plan in plans for kernel in plan.kernels}.values()),
        programs=programs,
        stage=None,
        rank=None,
    )


def _common(name: Program, plans: Sequence[Plan]) -> Program:
    """What a program counts as beside those of other kinds of devices: the host's one step is a GPU's decoding."""
    kinds = {Program.STEP in plan.programs for plan in plans}
    return Program.DECODE if len(kinds) > 1 and name is Program.STEP else name

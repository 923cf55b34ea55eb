"""The host back end: one shared library with every kernel and the launch tape."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hfc.backend.emit import Emitted, RegionCall, make_plan
from hfc.backend.exchange import MEET, exchanged_by
from hfc.backend.host.build import library_source
from hfc.backend.library import build_for_cpu
from hfc.base.cpu import instruction_sets, processor
from hfc.base.trace import timed
from hfc.bundles.contract import contract
from hfc.passes.settings import Settings
from hfc.plan import Kernel, Launch, Plan
from hfc.pointer import RANKS
from hfc.program import Program
from hfc.target.cpus import CPUS, NATIVE

MATRIX_LAYOUT = "tile16"
GRID = ("1", "1", "1")  # threads share the work of a launch among themselves


def build(emitted: Emitted, settings: Settings) -> tuple[Plan, dict[str, bytes]]:
    """The plan for this machine's CPU, or the one that is asked for, and its library by file name."""
    with timed("render sources"):
        plan = _plan(emitted, settings)
        text = _text(plan, emitted)
    with timed("compile the host library"):
        library = build_for_cpu(text, settings.cpu, "host-library").read_bytes()
    name = f"host/{hashlib.sha256(library).hexdigest()[:32]}.so"
    return replace(plan, library=name, cpu=_needed(settings.cpu)), {name: library}


def library_text(emitted: Emitted, settings: Settings) -> str:
    """The C text of the library."""
    return _text(_plan(emitted, settings), emitted)


def _plan(emitted: Emitted, settings: Settings) -> Plan:
    programs = {Program.STEP: _launches(emitted.calls)}  # one after the other on the tape
    if emitted.draft:
        programs[Program.DRAFT_STEP] = _launches(emitted.draft_calls)
        emitted = emitted.observed_by({Program.STEP: emitted.observing})
    met = (MEET,) if emitted.rank else ()
    return make_plan(emitted, settings, tuple(Kernel(symbol, None) for symbol in (*met, *emitted.kernels)), programs)


def _text(plan: Plan, emitted: Emitted) -> str:
    launches = tuple(launch for program in plan.programs.values() for launch in program)
    table = {p: i for i, p in enumerate(dict.fromkeys(p for launch in launches for p in launch.pointers))}
    tape = [(launch.kernel, [table[p] for p in launch.pointers]) for launch in launches]
    packed = sorted({ref.format for ref in emitted.weights if ref.layout == MATRIX_LAYOUT})
    return library_source(
        emitted.kernels.values(), tape, plan.max_rows, plan.context, contract=contract(plan), packed=packed
    )


def _needed(cpu: str) -> tuple[str, ...]:
    """The machine and the sets of instructions without which the library cannot run."""
    if cpu == NATIVE:
        return instruction_sets()
    return (CPUS[cpu].machine, *CPUS[cpu].instructions)


def _launches(calls: tuple[RegionCall, ...]) -> tuple[Launch, ...]:
    found: list[Launch] = []
    for call in calls:
        if exchanged_by(call.pointers):
            nothing = dict.fromkeys(call.bytes, 0)
            found.append(Launch(MEET, (RANKS,), GRID, 0, 0, "the ranks meet", nothing, nothing, exchange=True))
        found.append(Launch(call.bound.name, call.pointers, GRID, 0, 0, call.text, call.bytes, call.flops))
    return tuple(found)


def cpu_features() -> str:
    """What the library was built for; part of the key of a cached bundle."""
    return processor()

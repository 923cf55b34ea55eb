"""The GPU back end: renders every kernel for an arch, compiles it, and lists the launches of decode and prefill."""

from __future__ import annotations

from dataclasses import asdict

from hfc.backend.compile import Job, compile_all
from hfc.backend.emit import Call, Emitted, make_plan
from hfc.backend.geometry import geometry
from hfc.backend.hip import hip_source
from hfc.passes.settings import Settings
from hfc.plan import Kernel, Launch, Plan

MATRIX_LAYOUT = "rows"
PROGRAMS = ("decode", "prefill")


def build(emitted: Emitted, settings: Settings) -> tuple[Plan, dict[str, bytes]]:
    """The plan for one arch and its code objects by file name."""
    jobs: dict[str, Job] = {}
    programs = {p: tuple(_launch(call, p, settings, jobs) for call in emitted.calls) for p in PROGRAMS}
    objects = compile_all(jobs.values())
    arch = settings.arch.name
    files = {f"{arch}/{o.name}.hsaco": o.data for o in objects}
    kernels = tuple(Kernel(o.name, f"{arch}/{o.name}.hsaco", asdict(o.resources)) for o in objects)
    return make_plan(emitted, settings, kernels, programs), files


def _launch(call: Call, program: str, settings: Settings, jobs: dict[str, Job]) -> Launch:
    """A launch of `program`; its kernel is added to the jobs once."""
    shape = geometry(call.bound, settings.arch, program)
    if shape.symbol not in jobs:
        source = hip_source(call.bound, settings.arch, program, settings.max_rows, settings.context, settings.slots)
        jobs[shape.symbol] = Job(shape.symbol, source, settings.arch)
    return Launch(
        shape.symbol, call.pointers, shape.grid, shape.block, shape.lds_bytes, call.text, call.bytes, call.flops
    )

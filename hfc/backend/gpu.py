"""The GPU back end: renders every kernel for an arch, compiles it, and lists the launches of decode and prefill."""

from __future__ import annotations

from dataclasses import asdict

from hfc.backend.compile import Job, compile_all
from hfc.backend.emit import Call, Emitted
from hfc.backend.geometry import geometry
from hfc.backend.render import render
from hfc.backend.spec import Bound
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


def make_plan(
    emitted: Emitted, settings: Settings, kernels: tuple[Kernel, ...], programs: dict[str, tuple[Launch, ...]], library: str | None = None
) -> Plan:
    """The plan around what a back end built."""
    return Plan(
        settings.arch.name,
        settings.context,
        settings.slots,
        settings.max_rows,
        settings.max_outputs,
        emitted.vocab,
        emitted.arena_bytes,
        emitted.logits,
        emitted.buffers,
        emitted.weights,
        emitted.consts,
        emitted.states,
        kernels,
        programs,
        library,
    )


def _launch(call: Call, program: str, settings: Settings, jobs: dict[str, Job]) -> Launch:
    """A launch of `program`; its kernel is added to the jobs once."""
    shape = geometry(call.bound, settings.arch, program)
    name = call.bound.name if not shape.variant else f"{call.bound.name}_{shape.variant}"
    if name not in jobs:
        jobs[name] = Job(name, source(call.bound, name, shape, settings), settings.arch)
    return Launch(name, call.pointers, shape.grid, shape.block, shape.lds_bytes, call.text, call.bytes, call.flops)


def source(bound: Bound, name: str, shape, settings: Settings) -> str:
    """The self-contained HIP source of one kernel."""
    return render(
        shape.template,
        name=name,
        args=bound.args,
        rows=bound.rows,
        arch=settings.arch,
        max_rows=settings.max_rows,
        context=settings.context,
        slots=settings.slots,
        geometry=shape,
        **bound.extra,
    )

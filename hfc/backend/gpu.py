"""The GPU back end: renders every kernel for an arch, compiles it, and lists the launches of decode and prefill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

from hfc.backend.compile import Job, compile_all
from hfc.backend.emit import Call, Emitted, make_plan
from hfc.backend.gates import contract_for, skeleton_of
from hfc.backend.geometry import Geometry, geometry
from hfc.backend.hip import hip_source
from hfc.backend.library import build_library
from hfc.backend.render import render
from hfc.backend.sample import sample_bound, sample_pointers
from hfc.backend.spec import Bound
from hfc.passes.settings import Settings
from hfc.plan import Kernel, Launch, Plan, pointer_table

MATRIX_LAYOUT = "rows"
PROGRAMS = ("decode", "prefill")
SAMPLE = "sample"  # a program of its own: a step that wants logits does without
TAPE_TARGETS = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-gnu.2.17"}  # machine -> zig target
STEP_ARGUMENT = -1


def build(emitted: Emitted, settings: Settings) -> tuple[Plan, dict[str, bytes]]:
    """The plan for one arch, with its code objects and launch tapes by file name."""
    jobs: dict[str, Job] = {}
    emitted, programs = list_launches(emitted, settings, jobs)
    objects = compile_all(jobs.values())
    arch = settings.arch.name
    files = {f"{arch}/{o.name}.hsaco": o.data for o in objects}
    kernels = tuple(Kernel(o.name, f"{arch}/{o.name}.hsaco", asdict(o.resources)) for o in objects)
    plan = make_plan(emitted, settings, kernels, programs, f"{arch}/tape")
    source = tape_source(plan)
    files |= {f"{arch}/tape-{machine}.so": build_library(source, target) for machine, target in TAPE_TARGETS.items()}
    return plan, files


def list_launches(
    emitted: Emitted, settings: Settings, jobs: dict[str, Job]
) -> tuple[Emitted, dict[str, tuple[Launch, ...]]]:
    """The launches of every program, with the buffers that this arch adds; kernels not yet in `jobs` are added to it."""
    programs = {p: tuple(_launch(call, p, settings, jobs) for call in emitted.calls) for p in PROGRAMS}
    programs[SAMPLE] = (_launch(_sample_call(emitted), "decode", settings, jobs),)
    return emitted, programs


def tape_source(plan: Plan) -> str:
    """The C text of the launch tape: every program's launches as static tables."""
    index = {kernel.symbol: i for i, kernel in enumerate(plan.kernels)}
    table = {pointer: i for i, pointer in enumerate(pointer_table(plan))}
    arguments: list[int] = []
    programs = []
    for name, launches in plan.programs.items():
        entries = []
        for launch in launches:
            entries.append({"kernel": index[launch.kernel], "first": len(arguments), "grid": launch.grid, "block": launch.block, "lds_bytes": launch.lds_bytes})
            arguments += [STEP_ARGUMENT, *(table[p] for p in launch.pointers)]
        programs.append((name, entries))
    return render("gpu_tape.c.j2", programs=programs, arguments=arguments)


def _sample_call(emitted: Emitted) -> Call:
    """Reads and writes one row of logits a few times; the cache holds it."""
    bytes = {"step": 0, "row": 0, "segment": 0, "context": 0}
    return Call(sample_bound(emitted.vocab), sample_pointers(emitted.logits), "sample(logits)", bytes, dict(bytes))


def _launch(call: Call, program: str, settings: Settings, jobs: dict[str, Job]) -> Launch:
    """A launch of `program`; its kernel is added to the jobs once."""
    shape = geometry(call.bound, settings.arch, program)
    if shape.symbol not in jobs:
        jobs[shape.symbol] = kernel_job(call.bound, shape, program, settings)
    return Launch(
        shape.symbol, call.pointers, shape.grid, shape.block, shape.lds_bytes, call.text, call.bytes, call.flops
    )


def kernel_job(bound: Bound, shape: Geometry, program: str, settings: Settings) -> Job:
    """The compilation of `bound` cut as `shape`, with the contract of its skeleton."""

    def source(cut: Geometry) -> str:
        return hip_source(bound, settings.arch, program, settings.max_rows, settings.context, settings.slots, cut)

    def smaller() -> Iterator[tuple[str, str]]:
        for name in skeleton_of(shape.template)[1].tunables:
            value = shape.numbers.get(name, 1)
            if value > 1:
                cut = replace(shape, numbers={**shape.numbers, name: value // 2})
                yield f"{name} {value // 2} instead of {value}", source(cut)

    formats = [part.format.name for part in bound.extra.get("parts", ())]
    contract = contract_for(shape.template, settings.arch, formats, bound.extra.get("k", 0) if formats else 0, shape.numbers.get("uses", ()))
    return Job(shape.symbol, source(shape), settings.arch, contract, smaller)

"""The GPU back end: renders every kernel for an arch, compiles it, and lists the launches of decode and prefill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace

from hfc.backend.compile import CompiledKernel, KernelJob, compile_all
from hfc.backend.emit import Emitted, RegionCall, make_plan
from hfc.backend.exchange import MEET, exchanged_by
from hfc.backend.gates import Contract, contract_for, together
from hfc.backend.hip import hip_source
from hfc.backend.library import build_library
from hfc.backend.memory import ALIGNMENT
from hfc.backend.render import render
from hfc.backend.shape import Geometry, LibraryCall, Scratch
from hfc.backend.skeleton import RowsClass
from hfc.backend.skeletons import by_library, geometry
from hfc.backend.skeletons.adopt.bind import adopt_bound, adopt_pointers
from hfc.backend.skeletons.linear.library.geometry import ROWS as LIBRARY_ROWS
from hfc.backend.skeletons.sample.bind import sample_bound, sample_pointers
from hfc.backend.spec import Bound
from hfc.backend.step_words import step_words_source
from hfc.base.trace import timed
from hfc.bundles.contract import contract
from hfc.passes.settings import Settings
from hfc.plan import Buffer, Kernel, Launch, Plan, Product, pointer_table
from hfc.pointer import Pointer
from hfc.program import Program
from hfc.target.arch import Arch

MATRIX_LAYOUT = "rows"
PROGRAMS = (Program.DECODE, Program.PREFILL)
ROWS_CLASS_OF: dict[Program, RowsClass] = {Program.DECODE: "decode", Program.PREFILL: "prefill"}
TAPE_TARGETS = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-gnu.2.17"}  # machine -> zig target
STEP_ARGUMENT = -1
HOSTED = "hosted"  # in place of a kernel's name, of what the host computes

Steps = Callable[[Bound, Program, Arch], tuple[Geometry | LibraryCall, ...]]  # the launches of a region in a program


def build(emitted: Emitted, settings: Settings, steps: Steps | None = None) -> tuple[Plan, dict[str, bytes]]:
    """The plan for one arch, with its code objects and launch tapes by file name. steps: instead of those that skeletons choose."""
    jobs: dict[str, KernelJob] = {}
    arch = settings.arch.name
    with timed("render sources"):
        emitted, programs = list_launches(emitted, settings, jobs, steps or _steps)
    with timed(f"compile kernels for {arch}"):
        objects = compile_all(jobs.values())
    files = {f"{arch}/{o.name}.hsaco": o.data for o in objects}
    kernels = tuple(Kernel(o.name, f"{arch}/{o.name}.hsaco", _facts(jobs[o.name], o)) for o in objects)
    tape = f"{arch}/{_place(settings)}tape"
    plan = make_plan(emitted, settings, kernels, programs, tape)
    source = tape_source(plan)
    with timed("compile launch tapes"):
        files |= {f"{tape}-{machine}.so": build_library(source, target) for machine, target in TAPE_TARGETS.items()}
    return plan, files


def _place(settings: Settings) -> str:
    """The folder of what a plan has for itself, where several of an arch lie in one bundle."""
    if settings.rank:
        return f"rank{settings.rank.number}/"
    return f"stage{settings.stage.number}/" if settings.stage else ""


def _facts(job: KernelJob, made: CompiledKernel) -> dict[str, int]:
    """What a plan says of a kernel: what the compiler reported, and to how few bits it rounds inputs, if it does."""
    return asdict(made.resources) | ({"input_bits": job.input_bits} if job.input_bits else {})


def list_launches(
    emitted: Emitted, settings: Settings, jobs: dict[str, KernelJob], steps: Steps | None = None
) -> tuple[Emitted, dict[Program, tuple[Launch, ...]]]:
    """The launches of every program, with the buffers that this arch adds; kernels not yet in `jobs` are added to it."""
    names, steps = _programs(emitted, settings), steps or _steps
    emitted = _with_scratch(emitted, settings, names, steps)
    programs = {p: tuple(x for call in emitted.calls for x in _launches(call, p, settings, jobs, steps)) for p in names}
    if emitted.draft:
        last = emitted.calls[len(emitted.calls) - emitted.observing :]
        emitted = emitted.observed_by(
            {p: sum(len(list(_launches(call, p, settings, jobs, steps))) for call in last) for p in names}
        )
        programs |= {
            p.of_draft: tuple(x for call in emitted.draft_calls for x in _launches(call, p, settings, jobs, steps))
            for p in PROGRAMS
        }
        programs[Program.ADOPT] = tuple(
            _launches(_adopt_call(emitted, settings.max_outputs), Program.DECODE, settings, jobs, _steps)
        )
    if emitted.logits:
        programs[Program.SAMPLE] = tuple(_launches(_sample_call(emitted), Program.DECODE, settings, jobs, _steps))
    return emitted, programs


def _programs(emitted: Emitted, settings: Settings) -> tuple[Program, ...]:
    """Names of the programs of a step, with the library's if it would do something there."""
    useful = settings.max_rows >= LIBRARY_ROWS and any(by_library(call.bound, settings.arch) for call in emitted.calls)
    return (*PROGRAMS, Program.PREFILL_ROCBLAS) if useful else PROGRAMS


def _steps(bound: Bound, program: Program, arch: Arch) -> tuple[Geometry | LibraryCall, ...]:
    """The launches of a region in a program."""
    if program is not Program.PREFILL_ROCBLAS:
        return geometry(bound, arch, ROWS_CLASS_OF[program])
    return by_library(bound, arch) or geometry(bound, arch, "prefill")


def _scratch_of(step: Geometry | LibraryCall) -> tuple[Scratch, ...]:
    if isinstance(step, LibraryCall):
        return (step.inputs, step.outputs)
    return tuple(scratch for part in step.beside or (step,) for scratch in part.scratch)


def tape_source(plan: Plan) -> str:
    """The C text of the launch tape: every program's launches as static tables."""
    index = {kernel.symbol: i for i, kernel in enumerate(plan.kernels)}
    table = {pointer: i for i, pointer in enumerate(pointer_table(plan))}
    arguments: list[int] = []
    products: list[Product] = []
    programs = []
    for name, launches in plan.programs.items():
        entries = []
        for launch in launches:
            if launch.product:
                products.append(launch.product)
            number = -len(products) if launch.product else index.get(launch.kernel, 0)
            entries.append(
                {
                    "kernel": number,
                    "first": len(arguments),
                    "grid": launch.grid,
                    "block": launch.block,
                    "lds_bytes": launch.lds_bytes,
                    "hosted": -1 if launch.hosted is None else launch.hosted,
                    "exchanged": plan.buffer(launch.pointers[0].name).row_bytes if launch.exchange else 0,
                }
            )
            arguments += [STEP_ARGUMENT, *(table[p] for p in launch.pointers)]
        programs.append((name, entries))
    return render(
        "gpu_tape.c.j2",
        programs=programs,
        arguments=arguments,
        products=products,
        max_rows=plan.max_rows,
        step_words=step_words_source(),
        contract=contract(plan),
    )


def _sample_call(emitted: Emitted) -> RegionCall:
    """Reads and writes one row of logits a few times; the cache holds it."""
    bytes = {"step": 0, "row": 0, "segment": 0, "context": 0}
    return RegionCall(
        sample_bound(emitted.vocab), sample_pointers(emitted.logits), "sample(logits)", bytes, dict(bytes)
    )


def _adopt_call(emitted: Emitted, max_outputs: int) -> RegionCall:
    """A word a row, read and written."""
    draft = emitted.draft
    assert draft, "guesses are adopted from a draft"
    bytes = {"step": 0, "row": 0, "segment": 0, "context": 0}
    return RegionCall(adopt_bound(max_outputs), adopt_pointers(draft.tokens), "adopt(tokens)", bytes, dict(bytes))


def _with_scratch(emitted: Emitted, settings: Settings, programs: tuple[Program, ...], steps: Steps) -> Emitted:
    """More buffers, for what the launches of one region hand on: every region writes its own anew."""
    needed: dict[str, tuple[Scratch, int]] = {}
    widest: dict[str, int] = {}  # bytes of the longest row: a step's rows must do for every region
    choosing = (_sample_call(emitted),) if emitted.logits else ()
    for call in (*emitted.calls, *emitted.draft_calls, *choosing):
        for scratch in (s for p in programs for step in steps(call.bound, p, settings.arch) for s in _scratch_of(step)):
            most = settings.max_outputs if scratch.outputs else settings.max_rows
            rows = -(-min(scratch.rows or most, most) // scratch.together)
            nbytes = scratch.row_bytes * (-(-rows // scratch.whole) * scratch.whole)
            widest[scratch.name] = max(widest.get(scratch.name, 0), scratch.row_bytes)
            if nbytes > needed.get(scratch.name, (scratch, 0))[1]:
                needed[scratch.name] = scratch, nbytes
    for name, (scratch, nbytes) in needed.items():
        buffer = Buffer(name, scratch.dtype, widest[name], "T", emitted.arena_bytes, nbytes)
        arena = emitted.arena_bytes + -(-nbytes // ALIGNMENT) * ALIGNMENT
        emitted = replace(emitted, buffers=(*emitted.buffers, buffer), arena_bytes=arena)
    return emitted


def _launches(
    call: RegionCall, program: Program, settings: Settings, jobs: dict[str, KernelJob], steps: Steps
) -> Iterator[Launch]:
    """The launches of one region in `program`; kernels not yet in `jobs` are added to it."""
    if call.bound.region.host_part is not None:
        yield _hosted(call)
        return
    if exchanged_by(call.pointers):
        yield _exchange(call)
    shapes = steps(call.bound, program, settings.arch)
    for shape in shapes:
        if isinstance(shape, LibraryCall):
            yield _product(call, shape)
            continue
        own = call if shape.member is None else call.members[shape.member]
        if shape.symbol not in jobs:
            jobs[shape.symbol] = kernel_job(own.bound, shape, settings)
        pointers = tuple(pointer for part in shape.beside or (shape,) for pointer in _pointers(call, part))
        bytes, flops = _counted(call, own, shape)
        text = call.text if shape is shapes[-1] else _text(call, own, shape)
        yield Launch(shape.symbol, pointers, shape.grid, shape.block, shape.lds_bytes, text, bytes, flops)


def _pointers(call: RegionCall, shape: Geometry) -> tuple[Pointer, ...]:
    own = call if shape.member is None else call.members[shape.member]
    return (*own.pointers, *(Pointer.buffer(s.name) for s in shape.scratch))


def _text(call: RegionCall, own: RegionCall, shape: Geometry) -> str:
    """What a launch does that does not end its region. own: the joined region that is served."""
    if shape.task:
        return f"{shape.task} {own.bound.name}"
    return call.text if own is call else f"{own.bound.name}, for {call.bound.name}"


def _counted(call: RegionCall, own: RegionCall, shape: Geometry) -> tuple[dict[str, int], dict[str, int]]:
    """The bytes and operations that count to a launch."""
    if shape.counts:
        counted = [call.members[number] for number in shape.counts]
    else:
        counted = [] if shape.task else [own]
    return _sum(call.bytes, [one.bytes for one in counted]), _sum(call.flops, [one.flops for one in counted])


def _sum(kinds: Iterable[str], counts: list[dict[str, int]]) -> dict[str, int]:
    return {kind: sum(count[kind] for count in counts) for kind in kinds}


def _product(call: RegionCall, step: LibraryCall) -> Launch:
    """A product by the library; its bytes and operations count to the launch that ends the region."""
    weight = call.pointers[call.bound.args.index(step.weight)]
    nothing, rows = dict.fromkeys(call.bytes, 0), step.product.rows
    pointers = (weight, Pointer.buffer(step.inputs.name), Pointer.buffer(step.outputs.name))
    text = f"multiply the {'low' if step.product.add else 'high'} parts of the inputs of {call.bound.name} by {weight}"
    return Launch(
        "rocblas_gemm_ex",
        pointers,
        (f"(T + {rows - 1}) / {rows}", "1", "1"),
        0,
        0,
        text,
        nothing,
        nothing,
        step.product,
    )


def _hosted(call: RegionCall) -> Launch:
    """What the host computes: its operands cross, and its result."""
    bytes = dict.fromkeys(call.bytes, 0)
    bytes["row"] = sum(4 * math.prod(arg.behind.type.sizes(1)) for arg in call.bound.args)
    nothing = dict.fromkeys(call.flops, 0)
    part = call.bound.region.host_part
    return Launch(HOSTED, call.pointers, ("1", "1", "1"), 0, 0, call.text, bytes, nothing, hosted=part)


def _exchange(call: RegionCall) -> Launch:
    """The ranks meet, where the kernel behind does not do so itself; for each row this rank's value goes out, and as much comes of every
    other."""
    pointers = exchanged_by(call.pointers)
    own = next(arg.behind for arg, at in zip(call.bound.args, call.pointers) if at == pointers[0])
    nothing = dict.fromkeys(call.bytes, 0)
    bytes = {**nothing, "row": 4 * math.prod(own.type.sizes(1)) * len(pointers)}
    return Launch(MEET, pointers, (call.bound.rows, "1", "1"), 0, 0, "the ranks meet", bytes, nothing, exchange=True)


def kernel_job(bound: Bound, shape: Geometry, settings: Settings) -> KernelJob:
    """The compilation of `bound` cut as `shape`, with the contract of its skeleton."""

    def source(cut: Geometry) -> str:
        return hip_source(bound, settings.arch, cut, settings.max_rows, settings.context, settings.slots)

    def smaller() -> Iterator[tuple[str, str]]:
        for name in shape.template.limits.tunables:
            value = getattr(shape.params, name)
            if value > 1:
                cut = replace(shape, params=replace(shape.params, **{name: value // 2}))
                yield f"{name} {value // 2} instead of {value}", source(cut)

    keeps = contract_of(bound, shape, settings.arch)
    return KernelJob(shape.symbol, source(shape), settings.arch, keeps, smaller, shape.input_bits)


def contract_of(bound: Bound, shape: Geometry, arch: Arch) -> Contract:
    """What a kernel keeps to; of kernels side by side, what the most generous of them does."""
    if shape.beside:
        return together([contract_of(bound.served(one.member), one, arch) for one in shape.beside])
    region = bound.region
    return contract_for(shape.template.limits, arch, region.gated_formats, region.row_elements, shape.promises)

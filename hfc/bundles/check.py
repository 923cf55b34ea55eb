"""A plan's numbers against each other: every offset, length, pointer, grid and shape, before memory is made or code loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from hfc.base.diagnostics import HfcError
from hfc.bundles.contract import pointer_sizes
from hfc.bundles.grid import grid_value
from hfc.bundles.recipes import check_recipe
from hfc.formats import FORMATS, KV_FORMATS, weight_format
from hfc.plan import (
    Buffer,
    ConstRef,
    DraftPlan,
    Kernel,
    Launch,
    PipelineStage,
    Plan,
    Product,
    StateRef,
    WeightRef,
    inbox_of,
)
from hfc.pointer import Pointer
from hfc.program import Program
from hfc.step import DECODE_ROWS, JOURNAL_ROWS
from hfc.target.arch import Arch, find_arch

MOST_BYTES = 1 << 46  # of one piece of memory
MOST_NUMBERS = 1 << 31  # of a table that is computed at load
MOST_TOKENS = 1 << 30  # positions and token ids are i32
MOST_ROWS = 1 << 20
HOST_POINTERS = 8  # of what crosses between a card and the host's experts: HOST_POINTERS of gpu_tape_types.h
MOST_RANKS = 8
LARGEST_BLOCK = 1024  # threads
ALIGNMENT = 16  # bytes; the widest access of a kernel
HOST_PROGRAMS = {Program.STEP}
GPU_PROGRAMS = {Program.DECODE, Program.PREFILL, Program.SAMPLE}
LAYOUTS = ("rows", "tile16")
KINDS = ("step", "row", "segment", "context")  # what a launch's bytes and operations are counted by


def check_plan(plan: Plan, where: str, files: Iterable[str] | None = None) -> None:
    """HfcError that names the first thing which cannot be. `where`: of the plan, for messages.  files: names in its bundle."""
    arch = find_arch(plan.arch)
    _scalars(plan, where)
    for what, things in (
        ("buffer", plan.buffers),
        ("weight", plan.weights),
        ("table", plan.consts),
        ("state", plan.states),
    ):
        _unique(f"{where}: {what}s", [thing.name for thing in things])
    for buffer in plan.buffers:
        _buffer(buffer, plan, where)
    for ref in plan.weights:
        _weight(ref, f"{where}: weight {ref.name}")
    for ref in plan.consts:
        _const(ref, plan, f"{where}: table {ref.name[:60]}")
    for state in plan.states:
        _state(state, plan, f"{where}: state {state.name}")
    _outputs(plan, where)
    _kernels(plan, arch, where, files)
    sizes = pointer_sizes(plan)
    total = sum(sizes.values()) + plan.arena_bytes
    _within(f"{where}: bytes of all memory", total, 1, MOST_BYTES)
    _programs(plan, arch, where)
    kernels = {kernel.symbol: kernel for kernel in plan.kernels}
    known_grids: set[str] = set()  # many launches, few grids
    for name, launches in plan.programs.items():
        for i, launch in enumerate(launches):
            _launch(launch, plan, arch, kernels, sizes, f"{where}: launch {i} of {name}")
            _grid(launch, plan, known_grids, f"{where}: launch {i} of {name}")


def _refuse(where: str, found: object, expected: str) -> NoReturn:
    raise HfcError(f"{where} is {str(found)[:80]}; {expected} is expected", hint="compile it again")


def _within(where: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        _refuse(where, found, f"{least} to {most}")


def _equal(where: str, found: object, expected: object) -> None:
    if found != expected:
        _refuse(where, found, str(expected)[:80])


def _one_of(where: str, found: str, known: Iterable[str]) -> None:
    known = list(known)
    if found not in known:
        _refuse(where, repr(found), " or ".join(map(repr, known[:12])) or "nothing")


def _unique(where: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            _refuse(f"{where}: the name {name[:60]!r}", "there twice", "each name once")
        seen.add(name)


def _scalars(plan: Plan, where: str) -> None:
    _within(f"{where}: context", plan.context, 1, MOST_TOKENS)
    _within(f"{where}: slots", plan.slots, 1, MOST_ROWS)
    _within(f"{where}: max_rows", plan.max_rows, 1, MOST_ROWS)
    _within(f"{where}: max_outputs", plan.max_outputs, 1, plan.max_rows)
    _within(f"{where}: vocab", plan.vocab, 1, MOST_TOKENS)
    _within(f"{where}: arena_bytes", plan.arena_bytes, 0, MOST_BYTES)
    _within(f"{where}: journal_rows", plan.journal_rows, 0, JOURNAL_ROWS)
    if plan.rank:
        _within(f"{where}: ranks", plan.rank.count, 2, MOST_RANKS)
        _within(f"{where}: number of its rank", plan.rank.number, 0, plan.rank.count - 1)


def _buffer(buffer: Buffer, plan: Plan, where: str) -> None:
    where = f"{where}: buffer {buffer.name}"
    _one_of(f"{where}: rows", buffer.rows, ("T", "R"))
    _within(f"{where}: row_bytes", buffer.row_bytes, 1, MOST_BYTES)
    _within(f"{where}: nbytes", buffer.nbytes, buffer.row_bytes, MOST_BYTES)
    _within(f"{where}: offset", buffer.offset, 0, max(0, plan.arena_bytes - buffer.nbytes))
    _equal(f"{where}: what its offset {buffer.offset} leaves of {ALIGNMENT} bytes", buffer.offset % ALIGNMENT, 0)


def _shape(where: str, shape: Sequence[int | str], least: int) -> None:
    _within(f"{where}: axes", len(shape), least, 8)
    elements = 1
    for size in shape:
        _within(f"{where}: shape {list(shape)}: an axis", size if isinstance(size, int) else -1, 1, MOST_BYTES)
        elements *= size
    _within(f"{where}: elements", elements, 1, MOST_BYTES)


def _weight(ref: WeightRef, where: str) -> None:
    _one_of(f"{where}: layout", ref.layout, LAYOUTS)
    _shape(where, ref.shape, 2 if ref.layout == "tile16" else 0)
    _one_of(f"{where}: format", ref.format, FORMATS)
    weight_format(ref.format).row_bytes(ref.shape[-1] if ref.shape else 1)
    check_recipe(ref.recipe, where)


def _const(ref: ConstRef, plan: Plan, where: str) -> None:
    shape = tuple(plan.context if size == "C" else size for size in ref.shape)
    _shape(where, shape, 1)
    _within(f"{where}: numbers", math.prod(shape), 1, MOST_NUMBERS)
    check_recipe(ref.recipe, where, shape)


def _state(state: StateRef, plan: Plan, where: str) -> None:
    _equal(f"{where}: the planes that have a format", sorted(state.formats), sorted(state.planes))
    for plane, nbytes in state.planes.items():
        _within(f"{where}: bytes of plane {plane!r}", nbytes, 0, MOST_BYTES)
    is_cache = "k" in state.planes
    sizes = [size for at, size in enumerate(state.shape[1:], 1) if not (is_cache and at == 2)]
    _shape(where, sizes, 0)
    if is_cache:
        _equal(f"{where}: planes", sorted(state.planes), ["k", "v"])
        _equal(f"{where}: axes", len(state.shape), 4)
        if not re.fullmatch(r"C([1-9][0-9]{0,8})?", str(state.shape[2])):
            _refuse(f"{where}: axis of positions", state.shape[2], "C, or C with a number")
        heads, head = sizes[0], sizes[-1]
        for plane, name in state.formats.items():
            _one_of(f"{where}: format of {plane}", name, KV_FORMATS)
            _equal(
                f"{where}: bytes of {plane}",
                state.planes[plane],
                heads * state.places(plan.context) * KV_FORMATS[name].row_bytes(head),
            )
        return
    _one_of(f"{where}: planes", ",".join(sorted(state.planes)), ("", ",journal"))
    size = 4
    for n in sizes:
        size *= n
    _equal(f"{where}: bytes", state.planes[""], size)
    if "journal" in state.planes:
        _equal(
            f"{where}: rest of its journal by {plan.journal_rows} rows",
            state.planes["journal"] % (4 * max(1, plan.journal_rows)),
            0,
        )


def _outputs(plan: Plan, where: str) -> None:
    """What is read back by the host: logits, taps and the draft's guesses."""
    buffers = {buffer.name: buffer for buffer in plan.buffers}

    def holds(what: str, name: str, row_bytes: int | None, rows: int) -> None:
        if name not in buffers:
            _refuse(f"{where}: {what}", repr(name), "the name of a buffer")
        buffer = buffers[name]
        if row_bytes is not None:
            _equal(f"{where}: row_bytes of the {what} {name}", buffer.row_bytes, row_bytes)
        _equal(f"{where}: bytes over of a row of {name}", buffer.row_bytes % 4, 0)
        _within(f"{where}: bytes of the {what} {name}", buffer.nbytes, buffer.row_bytes * rows, MOST_BYTES)

    if plan.stage:
        _stage(plan.stage, f"{where}: stage")
        for what, names in (("received", plan.stage.received), ("sent", plan.stage.sent)):
            for name in names:
                holds(f"{what} value", name, None, plan.max_rows)
    if plan.parts:
        _parts(plan, where, holds)
    if plan.parts or (plan.stage and not plan.stage.is_last):
        _equal(f"{where}: logits of a plan that makes none", plan.logits, "")
    else:
        holds("logits", plan.logits, 4 * plan.vocab, plan.max_outputs)
    for tap, name in plan.taps.items():
        holds(f"tap {tap}", name, None, plan.max_rows)
    if plan.draft:
        _draft(plan.draft, plan, where, holds)


def _parts(plan: Plan, where: str, holds: Callable[[str, str, int | None, int], None]) -> None:
    """Launches one after the other, and the buffers that cross."""
    _equal(f"{where}: arch of experts alone", find_arch(plan.arch).platform.is_gpu, False)
    launches, begin = plan.programs.get(Program.STEP, ()), 0
    for i, part in enumerate(plan.parts):
        _equal(f"{where}: first launch of part {i}", part.first, begin)
        _within(f"{where}: end of part {i}", part.end, part.first, len(launches))
        _within(f"{where}: what part {i} reads", len(part.reads), 1, HOST_POINTERS - 1)
        for name in (*part.reads, part.writes):
            holds(f"value of part {i}", name, None, plan.max_rows)
        begin = part.end
    _equal(f"{where}: launches of its parts", begin, len(launches))


def _stage(stage: PipelineStage, where: str) -> None:
    """Its place among the others, which follow each other from layer 0 on."""
    _within(f"{where}: number", stage.number, 0, len(stage.ranges) - 1)
    begin = 0
    for first, last in stage.ranges:
        _equal(f"{where}: first layer of {first}-{last}", first, begin)
        _within(f"{where}: last layer of {first}-{last}", last, first, MOST_ROWS)
        begin = last + 1


def _draft(draft: DraftPlan, plan: Plan, where: str, holds: Callable[[str, str, int | None, int], None]) -> None:
    _within(f"{where}: draft: block", draft.block, 1, JOURNAL_ROWS)
    _within(f"{where}: draft: rows", draft.rows, 1, plan.max_rows)
    if draft.mask_token is not None:
        _within(f"{where}: draft: mask_token", draft.mask_token, 0, plan.vocab - 1)
    holds("draft's logits", draft.logits, 4 * plan.vocab, draft.rows)
    holds("draft's tokens", draft.tokens, 4, draft.rows)
    for program, count in draft.observing.items():
        _one_of(f"{where}: draft: a program that observes", program, plan.programs)
        _within(f"{where}: draft: observing launches of {program}", count, 0, len(plan.programs[program]))


def _kernels(plan: Plan, arch: Arch, where: str, files: Iterable[str] | None) -> None:
    _unique(f"{where}: kernels", [kernel.symbol for kernel in plan.kernels])
    if files is None:
        return
    names = set(files)
    for kernel in plan.kernels:
        if not arch.platform.is_gpu:
            _equal(f"{where}: kernel {kernel.symbol}: file", kernel.file, None)
        elif kernel.file not in names:
            _refuse(f"{where}: kernel {kernel.symbol}: file", kernel.file, "a file of the bundle")
    tapes = [name for name in names if plan.library and name.startswith(f"{plan.library}-")]
    if plan.library is None or not (tapes if arch.platform.is_gpu else plan.library in names):
        _refuse(f"{where}: library", plan.library, "a file of the bundle")


def _programs(plan: Plan, arch: Arch, where: str) -> None:
    is_gpu = arch.platform.is_gpu
    required = GPU_PROGRAMS if is_gpu else HOST_PROGRAMS
    if not plan.logits:
        required = required - {Program.SAMPLE}
    allowed = {*required, Program.PREFILL_ROCBLAS} if is_gpu else set(required)
    if plan.draft:
        drafting = {program.of_draft for program in required - {Program.SAMPLE}}
        required = required | drafting | ({Program.ADOPT} if is_gpu else set())
        allowed |= required
    if not required <= set(plan.programs) <= allowed:
        _refuse(f"{where}: programs", ", ".join(plan.programs), ", ".join(sorted(required)))


def _launch(
    launch: Launch, plan: Plan, arch: Arch, kernels: Mapping[str, Kernel], sizes: Mapping[Pointer, int], where: str
) -> None:
    for pointer in launch.pointers:
        if pointer not in sizes:
            _refuse(f"{where}: pointer", repr(str(pointer)), "a buffer, weight, table or state of the plan")
    for what, counts in (("bytes", launch.bytes), ("flops", launch.flops)):
        _equal(f"{where}: kinds of {what}", sorted(counts), sorted(KINDS))
        for kind, count in counts.items():
            _within(f"{where}: {what} a {kind}", count, 0, 1 << 60)
    if launch.product:
        _product(launch.product, launch, plan, sizes, where)
        return
    if launch.exchange:
        _exchange(launch, plan, arch, where)
        if arch.platform.is_gpu:
            return
    if launch.hosted is not None:
        _equal(f"{where}: bundle's kind of arch for hosted experts", arch.platform.is_gpu, True)
        _within(f"{where}: part of the host's plan", launch.hosted, 0, MOST_ROWS)
        _within(f"{where}: pointers", len(launch.pointers), 2, HOST_POINTERS)
        for pointer in launch.pointers:
            _one_of(f"{where}: kind of the pointer {pointer}", pointer.kind, ("buffer",))
        return
    if launch.kernel not in kernels:
        _refuse(f"{where}: kernel", repr(launch.kernel), "a kernel of the plan")
    _within(f"{where}: lds_bytes", launch.lds_bytes, 0, arch.most_lds_bytes)
    if arch.platform.is_gpu:
        _within(f"{where}: block", launch.block, 1, LARGEST_BLOCK)
    else:
        _equal(f"{where}: block", launch.block, 0)


def _exchange(launch: Launch, plan: Plan, arch: Arch, where: str) -> None:
    """The ranks meet: on the host a function that is given where, on a card a call of the runtime, with what it brings."""
    if plan.rank is None:
        _refuse(f"{where}: the exchange", "of ranks", "a plan that is a rank")
    kinds = [pointer.kind for pointer in launch.pointers]
    if arch.platform.is_gpu:
        _equal(f"{where}: kinds of its pointers", kinds, ["buffer", *["peer"] * (plan.rank.count - 1)])
        own = plan.buffer(launch.pointers[0].name)
        rows = plan.max_outputs if own.rows == "R" else plan.max_rows
        _within(f"{where}: bytes of {own.name}", own.nbytes, own.row_bytes * rows, MOST_BYTES)
        _equal(f"{where}: its grid", launch.grid, (own.rows, "1", "1"))
        inboxes = [buffer for buffer in plan.buffers if buffer.name in {inbox_of(n) for n in range(plan.rank.count)}]
        _equal(f"{where}: places for what it brings", len(inboxes), plan.rank.count - 1)
        for inbox in inboxes:
            _within(f"{where}: bytes of {inbox.name}", inbox.nbytes, own.nbytes, MOST_BYTES)
    else:
        _equal(f"{where}: pointers", list(map(str, launch.pointers)), ["io:ranks"])


def _grid(launch: Launch, plan: Plan, known: set[str], where: str) -> None:
    """known: expressions that were found right in this plan."""
    _equal(f"{where}: axes of its grid", len(launch.grid), 3)
    for expression in launch.grid:
        if expression in known:
            continue
        try:
            for counts in _extremes(plan):
                grid_value(expression, counts)
        except HfcError as error:
            raise HfcError(f"{where}: {error.message}", hint="compile it again") from None
        known.add(expression)


def _extremes(plan: Plan) -> list[dict[str, int]]:
    """Counts of the smallest and the largest steps."""
    reach = [1, 128, 4 * plan.context + 128]
    rows = sorted({1, min(DECODE_ROWS, plan.max_rows), plan.max_rows})
    return [
        {"T": t, "R": r, "G": g, "C": c}
        for t in rows
        for r in {0, min(t, plan.max_outputs)}
        for g in {1, t}
        for c in reach
    ]


def _product(product: Product, launch: Launch, plan: Plan, sizes: Mapping[Pointer, int], where: str) -> None:
    _equal(f"{where}: kernel", launch.kernel, "rocblas_gemm_ex")
    _equal(f"{where}: pointers", len(launch.pointers), 3)
    _one_of(f"{where}: dtype", product.dtype, ("f16", "bf16"))
    for name, least in (("rows", 1), ("n", 1), ("k", 1), ("input_at", 0), ("output_at", 0)):
        _within(f"{where}: {name}", getattr(product, name), least, MOST_TOKENS)
    _within(f"{where}: input_stride", product.input_stride, product.k, MOST_TOKENS)
    _within(f"{where}: output_stride", product.output_stride, product.n, MOST_TOKENS)
    last = -(-plan.max_rows // product.rows) * product.rows - 1
    weight, inputs, outputs = (sizes[pointer] for pointer in launch.pointers)
    _within(f"{where}: bytes that it reads of its weight", 2 * product.n * product.k, 1, weight)
    read = 2 * (last * product.input_stride + product.input_at + product.k)
    _within(f"{where}: bytes up to the end of its inputs", read, 1, inputs)
    written = 4 * (last * product.output_stride + product.output_at + product.n)
    _within(f"{where}: bytes up to the end of its outputs", written, 1, outputs)

"""A fused graph to a plan: bind every region, name its pointers, place the buffers. Knows no device."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields, is_dataclass, replace

from hfc.backend.body import Printer
from hfc.backend.cost import expected
from hfc.backend.kernels import KERNELS
from hfc.backend.memory import intervals, place
from hfc.backend.spec import Arg, Bound
from hfc.base.diagnostics import unknown
from hfc.formats import KV_FORMATS
from hfc.formats.recipe import Recipe
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.opdef import OPS
from hfc.ir.text import print_op
from hfc.passes.settings import Settings
from hfc.plan import Buffer, ConstRef, Kernel, Launch, Plan, StateRef, WeightRef

SCALAR_BYTES = 4  # activations are f32 or i32


@dataclass(frozen=True)
class Call:
    """One region as the back ends see it: what to build, and which memory to hand it."""

    bound: Bound
    pointers: tuple[str, ...]
    text: str
    bytes: dict[str, int]
    flops: dict[str, int]


@dataclass(frozen=True)
class Emitted:
    """The device-independent part of a plan. kernels: unique bound regions by name."""

    calls: tuple[Call, ...]
    kernels: dict[str, Bound]
    buffers: tuple[Buffer, ...]
    weights: tuple[WeightRef, ...]
    consts: tuple[ConstRef, ...]
    states: tuple[StateRef, ...]
    arena_bytes: int
    logits: str
    vocab: int
    taps: dict[str, str]


def emit(graph: Graph, settings: Settings, matrix_layout: str) -> Emitted:
    """matrix_layout: the layout of weights that linear kernels read (others stay as stored)."""
    sources = storage(graph)
    regions = [op for op in graph.ops if op.kind == "kernel"]
    bounds = [_bind(op, settings, sources) for op in regions]
    layouts = {a.value: _layouts(a.value, bounds, matrix_layout) for b in bounds for a in b.args if a.kind == "weight"}
    calls = tuple(
        Call(bound, tuple(_pointer(a, bound, sources, layouts) for a in bound.args), print_op(op), *expected(op, sources))
        for op, bound in zip(regions, bounds)
    )
    buffers, arena = _buffers(graph, settings, sources)
    journals = _journals(graph)
    weights = tuple(
        WeightRef(_weight_name(op, layout, layouts[op.output]), op.attrs["recipe"], op.output.type.dtype, op.output.type.shape, layout)
        for op in graph.ops
        if op.kind == "weight" and op.output in layouts
        for layout in layouts[op.output]
    )
    logits = graph.outputs[0]
    return Emitted(
        calls,
        {b.name: b for b in bounds},
        buffers,
        weights,
        tuple(_const(op) for op in graph.ops if op.kind == "const"),
        tuple(_state(op, settings, journals.get(op.output, 0)) for op in graph.ops if op.kind == "state"),
        arena,
        logits.name,
        logits.type.shape[-1],
        {name: value.name for name, value in zip(settings.taps, graph.outputs[1:], strict=True)},
    )


def storage(graph: Graph) -> dict[Value, Op]:
    """The source op behind each value that is not a buffer; a state's new value lies where the state lies."""
    found = {op.output: op for op in graph.ops if op.kind in ("weight", "state", "const")}
    found.update({new: found[state] for state, new in graph.updates.items()})
    return found


def _bind(region: Op, settings: Settings, sources: dict[Value, Op]) -> Bound:
    stem = region.attrs["stem"]
    if stem not in KERNELS:
        raise unknown("kernel stem", stem, KERNELS, region.span)
    bound = KERNELS[stem].bind(region, Printer(region, settings, sources))
    digest = hashlib.sha256(repr(_content(bound)).encode()).hexdigest()[:8]
    return replace(bound, name=f"{bound.name}_{digest}")


def _content(thing):
    """A bound region as plain data, without the values behind its pointers: equal content is the same kernel."""
    if isinstance(thing, Value):
        return None
    if is_dataclass(thing):
        return [type(thing).__name__, *(_content(getattr(thing, f.name)) for f in fields(thing))] if not hasattr(thing, "block") else thing.name
    if isinstance(thing, dict):
        return sorted((k, _content(v)) for k, v in thing.items())
    return [_content(t) for t in thing] if isinstance(thing, (list, tuple)) else thing


def _layouts(weight: Value, bounds: list[Bound], matrix_layout: str) -> tuple[str, ...]:
    """The layouts in which a weight is needed: a tied embedding is gathered by rows and multiplied in tiles."""
    found = set()
    for bound in bounds:
        for arg in bound.args:
            if arg.value is weight:
                matrix = any(p.weight is arg for p in bound.extra.get("parts", ()))
                found.add(matrix_layout if matrix else "rows")
    return tuple(sorted(found))


def _weight_name(op: Op, layout: str, layouts: tuple[str, ...]) -> str:
    return op.attrs["name"] if len(layouts) == 1 else f"{op.attrs['name']}@{layout}"


def _pointer(arg: Arg, bound: Bound, sources: dict[Value, Op], layouts) -> str:
    if arg.kind == "buffer":
        return f"buffer:{arg.value.name}"
    op = sources[arg.value]
    if arg.kind == "weight":
        matrix = any(p.weight is arg for p in bound.extra.get("parts", ()))
        have = layouts[arg.value]
        layout = next((x for x in have if (x != "rows") == matrix), have[0])
        return f"weight:{_weight_name(op, layout, have)}"
    if arg.kind == "const":
        return f"const:{const_name(op.attrs['recipe'])}"
    return f"state:{op.attrs['name']}" + (f".{arg.plane}" if arg.plane else "")


def _buffers(graph: Graph, settings: Settings, sources: dict[Value, Op]) -> tuple[tuple[Buffer, ...], int]:
    values = dict.fromkeys(
        v for op in graph.ops if op.kind == "kernel" for v in (*op.inputs, *op.outputs) if v not in sources and v not in graph.inputs
    )
    row_bytes = {v: SCALAR_BYTES * math.prod(v.type.shape[1:]) for v in values}
    limit = {"T": settings.max_rows, "R": settings.max_outputs}
    offsets, arena = place(intervals(graph, {v: row_bytes[v] * limit[v.type.shape[0]] for v in values}))
    made = tuple(Buffer(v.name, v.type.dtype, row_bytes[v], v.type.shape[0], offsets[v]) for v in values)
    return made, arena


def const_name(recipe: Recipe) -> str:
    return str(recipe)


def _const(op: Op) -> ConstRef:
    return ConstRef(const_name(op.attrs["recipe"]), op.attrs["recipe"], op.output.type.shape)


def _journals(graph: Graph) -> dict[Value, int]:
    """Recurrent state -> numbers that its journal keeps of a row."""
    found = {}
    for op in graph.walk():
        journal = OPS[op.kind].journal if op.kind in OPS else None
        if journal:
            state = op.inputs[OPS[op.kind].state[0]]
            found[state] = journal(state.type)
    return found


def _state(op: Op, settings: Settings, journal: int) -> StateRef:
    """journal: numbers of a row."""
    shape = op.output.type.shape
    if op.output.type.dtype != "kv":
        planes = {"": 4 * math.prod(shape[1:])}
        if settings.journal_rows:
            planes["journal"] = 4 * settings.journal_rows * journal
        return StateRef(op.attrs["name"], shape, planes, dict.fromkeys(planes, "f32"))
    _slots, heads, _context, head = shape
    formats = {"k": op.attrs["k_format"], "v": op.attrs["v_format"]}
    planes = {p: heads * settings.context * KV_FORMATS[f].row_bytes(head) for p, f in formats.items()}
    return StateRef(op.attrs["name"], shape, planes, formats)


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
        journal_rows=settings.journal_rows,
        taps=emitted.taps,
    )

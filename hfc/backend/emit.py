"""A fused graph to a plan: bind every region, name its pointers, place the buffers. Knows no device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any

from hfc.backend.body import Printer
from hfc.backend.cost import expected
from hfc.backend.exchange import exchange_buffers, exchanged_values
from hfc.backend.memory import ALIGNMENT, intervals, place
from hfc.backend.references import const_ref, each_once, journals_of, layouts_of, pointer_of, state_ref, weight_refs
from hfc.backend.skeletons import SKELETONS
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import unknown
from hfc.formats.block import BlockFormat
from hfc.ir.graph import INPUT, Graph, Op, Value
from hfc.ir.members import handed_on, members_of
from hfc.ir.opdef import OPS
from hfc.ir.text import print_op
from hfc.passes.settings import Settings, StageCut
from hfc.plan import (
    Buffer,
    ConstRef,
    DraftPlan,
    HostedPart,
    Kernel,
    Launch,
    PipelineStage,
    Plan,
    StateRef,
    TensorRank,
    WeightRef,
)
from hfc.pointer import Pointer
from hfc.program import Program

SCALAR_BYTES = 4  # activations are f32 or i32
DRAFT_STATES = "draft."  # what the names of a draft's states begin with: DRAFT of hfc/frontend/build.py


@dataclass(frozen=True)
class RegionCall:
    """One region as the back ends see it: what to build, and which memory to hand it. members: those that were joined into it."""

    bound: Bound
    pointers: tuple[Pointer, ...]
    text: str
    bytes: dict[str, int]
    flops: dict[str, int]
    members: tuple[RegionCall, ...] = ()


@dataclass(frozen=True)
class Emitted:
    """The device-independent part of a plan. kernels: unique bound regions by name."""

    calls: tuple[RegionCall, ...]
    kernels: dict[str, Bound]
    buffers: tuple[Buffer, ...]
    weights: tuple[WeightRef, ...]
    consts: tuple[ConstRef, ...]
    states: tuple[StateRef, ...]
    arena_bytes: int
    logits: str
    vocab: int
    taps: dict[str, str]
    draft: DraftPlan | None = None
    draft_calls: tuple[RegionCall, ...] = ()
    observing: int = 0  # number of trailing calls that only write the draft model's inputs
    stage: PipelineStage | None = None
    parts: tuple[HostedPart, ...] = ()
    rank: TensorRank | None = None

    def observed_by(self, launches: dict[Program, int]) -> Emitted:
        """launches: program -> how many of its last launches are those calls."""
        assert self.draft, "only a draft is observed for"
        return replace(self, draft=replace(self.draft, observing=launches))


@dataclass(frozen=True)
class DraftGraph:
    """A fused draft and what its plan says of it, see DraftPlan."""

    graph: Graph
    settings: Settings
    block: int
    mask_token: int | None


@dataclass(frozen=True)
class _Part:
    """A graph with its regions bound. sources: see `storage`."""

    graph: Graph
    sources: dict[Value, Op]
    regions: list[Op]
    bounds: list[Bound]

    @classmethod
    def of(cls, graph: Graph, settings: Settings) -> _Part:
        sources = storage(graph)
        regions = [op for op in graph.ops if op.is_region]
        return cls(graph, sources, regions, [_bind(op, settings, sources) for op in regions])

    def calls(self, layouts: dict[str, tuple[str, ...]]) -> tuple[RegionCall, ...]:
        return tuple(self._call(op, bound, layouts) for op, bound in zip(self.regions, self.bounds))

    def _call(self, op: Op, bound: Bound, layouts: dict[str, tuple[str, ...]]) -> RegionCall:
        pointers = tuple(pointer_of(a, bound, self.sources, layouts) for a in bound.args)
        members = zip(members_of(op), bound.region.members)
        calls = tuple(self._call(member, its, layouts) for member, its in members)
        return RegionCall(bound, pointers, print_op(op), *expected(op, self.sources), calls)


def emit(
    graph: Graph, settings: Settings, matrix_layout: str, draft: DraftGraph | None = None, vocab: int = 0
) -> Emitted:
    """matrix_layout: the layout of weights that linear kernels read (others stay as stored).  vocab: logits a row, of a stage without.

    draft: runs on the same weights and states; its buffers share the arena, but what it gives out lives until the next draft."""
    parts = [_Part.of(graph, settings), *([_Part.of(draft.graph, draft.settings)] if draft else [])]
    layouts = layouts_of([(part.bounds, part.sources) for part in parts], matrix_layout)
    hosted = _hosted(parts[0]) if settings.experts and settings.experts.is_host else ()
    limit, exchanged = {"T": settings.max_rows, "R": settings.max_outputs}, exchanged_values(graph)
    buffers, arena = _buffers(parts[0], limit, exchanged, _filled(parts[0], hosted))
    more, arena = exchange_buffers(exchanged, _row_bytes, limit, arena, _brought(settings))
    buffers += more
    if draft:
        more, arena = _draft_buffers(parts[1], settings.max_outputs, arena)
        buffers += more
    journals = {name: numbers for part in parts for name, numbers in journals_of(part.bounds, part.sources).items()}
    sources = [op for part in parts for op in part.graph.ops]
    logits, *taps = graph.outputs if settings.gives_logits else (None,)
    return Emitted(
        parts[0].calls(layouts),
        {b.name: b for part in parts for b in part.bounds},
        buffers,
        weight_refs(sources, layouts),
        each_once(const_ref(op) for op in sources if op.is_const),
        each_once(state_ref(op, settings, journals.get(op.attrs["name"], 0)) for op in sources if op.is_state),
        arena,
        logits.name if logits else "",
        logits.type.size(-1) if logits else vocab,
        {name: value.name for name, value in zip(settings.taps, taps, strict=True)} if logits else {},
        _draft(draft, settings) if draft else None,
        parts[1].calls(layouts) if draft else (),
        _observing(parts[0]) if draft else 0,
        _stage(graph, settings.stage),
        hosted,
        TensorRank(settings.rank.number, settings.rank.count) if settings.rank else None,
    )


def _brought(settings: Settings) -> list[int]:
    """The ranks whose values a card may have to have a copy of; the host's read each other's memory."""
    rank = settings.rank if settings.arch.platform.is_gpu else None
    return [number for number in range(rank.count) if number != rank.number] if rank else []


def _stage(graph: Graph, cut: StageCut | None) -> PipelineStage | None:
    """What the plan says of a graph that cut_stages made."""
    if cut is None:
        return None
    received, sent = ([v.name for v in values] for values in (graph.inputs[1:], () if cut.is_last else graph.outputs))
    return PipelineStage(cut.number, cut.ranges, tuple(received), tuple(sent))


def _hosted(part: _Part) -> tuple[HostedPart, ...]:
    """Of a graph that host_experts made: the regions that make each of its outputs, which stand one after the other."""
    makers = {value: at for at, op in enumerate(part.regions) for value in op.outputs}
    found: list[HostedPart] = []
    for value in part.graph.outputs:
        needed, stack = set[int](), [makers[value]]
        while stack:
            needed.add(at := stack.pop())
            stack += [makers[v] for v in part.regions[at].inputs if v in makers]
        first, end = min(needed), max(needed) + 1
        assert first == (found[-1].end if found else 0) and end - first == len(needed), "hosted experts are mixed up"
        read = {v for op in part.regions[first:end] for v in op.inputs}
        reads = tuple(v.name for v in part.graph.inputs[1:] if v in read)
        found.append(HostedPart(first, end, reads, value.name))
    assert found[-1].end == len(part.regions), "a region belongs to no hosted experts"
    return tuple(found)


def _filled(part: _Part, hosted: tuple[HostedPart, ...]) -> dict[Value, int] | None:
    """What comes in of a graph that runs in parts -> where the first op stands of the part that reads it."""
    if not hosted:
        return None
    place = {op: at for at, op in enumerate(part.graph.ops)}
    begins = {name: place[part.regions[one.first]] for one in hosted for name in one.reads}
    return {value: begins.get(value.name, 0) for value in part.graph.inputs}


def _observing(part: _Part) -> int:
    """How many of the last regions nothing needs but the draft's states."""
    graph = part.graph
    own = {state for state, op in part.sources.items() if op.is_state and not op.attrs["name"].startswith(DRAFT_STATES)}
    needed = {*graph.outputs, *(new for state, new in graph.updates.items() if state in own)}
    count = trailing = 0
    for region in reversed(part.regions):
        if needed & set(region.outputs):
            needed.update(region.inputs)
            trailing = trailing or count
        count += 1
    return trailing


def _draft(draft: DraftGraph, settings: Settings) -> DraftPlan:
    logits, tokens = (value.name for value in draft.graph.outputs)
    return DraftPlan(draft.graph.name, draft.block, draft.mask_token, settings.max_outputs, logits, tokens)


def storage(graph: Graph) -> dict[Value, Op]:
    """The source op behind each value that is not a buffer; a state's new value lies where the state lies."""
    found = {value: Op(INPUT, (), (value,)) for value in graph.inputs[:1]}  # after the tokens: what a stage receives
    for op in graph.walk():
        if op.is_source:
            found[op.output] = op
        elif op.kind in OPS and (carried := OPS[op.kind].state):
            state, new = carried
            found[op.outputs[new]] = found[op.inputs[state]]
    return found


def _bind(region: Op, settings: Settings, sources: dict[Value, Op]) -> Bound:
    stem = region.attrs["stem"]
    bind = SKELETONS[stem].bind if stem in SKELETONS else None
    if bind is None:
        raise unknown("kernel stem", stem, [name for name, found in SKELETONS.items() if found.bind], region.span)
    bound = bind(region, Printer(region, settings, sources))
    if members := members_of(region):
        own = tuple(_bind(member, settings, sources) for member in members)
        bound = replace(bound, region=replace(bound.region, members=own))
    digest = hashlib.sha256(repr(_content(bound)).encode()).hexdigest()[:8]
    return replace(bound, name=f"{bound.name}_{digest}")


def _content(thing: Any) -> Any:
    """A bound region as plain data, without the values behind its pointers: equal content is the same kernel."""
    if isinstance(thing, Value):
        return None
    if isinstance(thing, BlockFormat):
        return thing.name
    if is_dataclass(thing):
        return [type(thing).__name__, *(_content(getattr(thing, f.name)) for f in fields(thing))]
    if isinstance(thing, dict):
        return sorted((k, _content(v)) for k, v in thing.items())
    return [_content(t) for t in thing] if isinstance(thing, (list, tuple)) else thing


def _buffers(
    part: _Part,
    limit: dict[str, int],
    apart: Collection[Value] = (),
    filled: dict[Value, int] | None = None,
) -> tuple[tuple[Buffer, ...], int]:
    """limit: rows of each kind.  apart: values that lie elsewhere.  filled: see backend.memory."""
    used = [*part.graph.inputs, *(v for op in part.regions for v in (*op.inputs, *handed_on(op), *op.outputs))]
    values = dict.fromkeys(v for v in used if v not in part.sources and v not in apart)
    nbytes = {v: _row_bytes(v) * limit[v.type.rows] for v in values}
    offsets, arena = place(intervals(part.graph, nbytes, filled))
    made = tuple(Buffer(v.name, v.type.dtype, _row_bytes(v), v.type.rows, offsets[v], nbytes[v]) for v in values)
    return made, arena


def _draft_buffers(part: _Part, rows: int, arena: int) -> tuple[tuple[Buffer, ...], int]:
    """The draft's buffers, and the arena's size with them: its outputs after all that others overwrite."""
    outputs = part.graph.outputs
    buffers, own = _buffers(part, {"T": rows}, outputs)
    end = max(arena, own)
    for value in outputs:
        nbytes = rows * _row_bytes(value)
        buffers = (*buffers, Buffer(value.name, value.type.dtype, _row_bytes(value), "T", end, nbytes))
        end += -(-nbytes // ALIGNMENT) * ALIGNMENT
    return buffers, end


def _row_bytes(value: Value) -> int:
    return SCALAR_BYTES * math.prod(value.type.sizes(1))


def make_plan(
    emitted: Emitted,
    settings: Settings,
    kernels: tuple[Kernel, ...],
    programs: dict[Program, tuple[Launch, ...]],
    library: str | None = None,
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
        draft=emitted.draft,
        journal_rows=settings.journal_rows,
        taps=emitted.taps,
        profile=settings.profile,
        stage=emitted.stage,
        parts=emitted.parts,
        rank=emitted.rank,
    )

"""The plan: everything the runtime needs to run a model on one arch. Pure data; the border between compiler and runtime.

A bundle file (.hfp) is an uncompressed zip: `manifest.json` and one file per code object.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.whole_file import write_whole
from hfc.formats import weight_format
from hfc.formats.recipe import Recipe
from hfc.pointer import Pointer
from hfc.program import Program
from hfc.step import JOURNAL_ROWS

BUNDLE_VERSION = 4  # 2: six words a segment in the step buffer; 3: bytes of every buffer, contracts; 4: pointers as [kind, name, plane]
MANIFEST = "manifest.json"
EXPERTS = "experts"  # in the name of the plan that computes them alone


@dataclass(frozen=True)
class Buffer:
    """`nbytes` of scratch at `offset` bytes of the arena, `row_bytes` for each row; rows is "T" or "R"."""

    name: str
    dtype: str
    row_bytes: int
    rows: str
    offset: int
    nbytes: int

    @property
    def pointer(self) -> Pointer:
        return Pointer.buffer(self.name)


@dataclass(frozen=True)
class WeightRef:
    """A weight: its recipe, storage format and shape, and the device layout ("rows": as stored, "tile16": see formats.tile)."""

    name: str
    recipe: Recipe
    format: str
    shape: tuple[int, ...]
    layout: str

    @property
    def pointer(self) -> Pointer:
        return Pointer.weight(self.name)


@dataclass(frozen=True)
class ConstRef:
    """A table of f32 made by a recipe for the plan's context."""

    name: str
    recipe: Recipe
    shape: tuple[int | str, ...]

    @property
    def pointer(self) -> Pointer:
        return Pointer.const(self.name)


@dataclass(frozen=True)
class StateRef:
    """A state: planes (name -> bytes per slot). KV caches have planes k and v, others one plane ""; all start as zero.

    Plans with `journal_rows` have a plane "journal" beside "": what applying the rows that wait to be committed needs.
    """

    name: str
    shape: tuple[int | str, ...]
    planes: dict[str, int]
    formats: dict[str, str]

    @property
    def every(self) -> int:
        """Of a KV cache: of how many positions one has a place, the last. kv[S, heads, C4, head]: of each four."""
        return int(str(self.shape[2])[1:] or 1)

    def places(self, context: int) -> int:
        """Of a KV cache, in a slot."""
        return -(-context // self.every)

    @property
    def pointers(self) -> dict[Pointer, int]:
        """Each plane's pointer -> its bytes per slot."""
        return {Pointer.state(self.name, plane): nbytes for plane, nbytes in self.planes.items()}


@dataclass(frozen=True)
class Kernel:
    """A device function: symbol, file in the bundle (None: part of the host library), resources the compiler reported."""

    symbol: str
    file: str | None
    resources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Product:
    """What a launch asks of rocBLAS instead of a kernel: y[:, at:at+n] (+)= x wᵀ, of `rows` rows of the step at a time.

    Pointers of the launch: the weight [n, k] and the inputs, both of `dtype`, and the outputs, f32. Strides and places count
    elements. Always as many rows, whatever the step has: the library chooses its order of additions by the sizes."""

    rows: int
    n: int
    k: int
    dtype: str
    input_stride: int
    input_at: int
    output_stride: int
    output_at: int
    add: bool


@dataclass(frozen=True)
class Launch:
    """One kernel with its pointers, in order; the step buffer goes before them.  grid: expressions in T, R, G, C.

    bytes, flops: what the types say it must move and compute, per "step", "row", "segment" and "context" (per row and
    token of context)."""

    kernel: str
    pointers: tuple[Pointer, ...]
    grid: tuple[str, str, str]
    block: int
    lds_bytes: int
    text: str
    bytes: dict[str, int]
    flops: dict[str, int]
    product: Product | None = None
    exchange: bool = (
        False  # the ranks meet: its pointers are a rank's own value, then those of the others, see TensorRank
    )
    hosted: int | None = None  # no kernel: part `hosted` of the plan that the host has beside this one, see HostedPart

    @property
    def is_by_runtime(self) -> bool:
        """No kernel of a region: what the host computes for a card, a meeting of ranks."""
        return self.exchange or self.hosted is not None


@dataclass(frozen=True)
class HostedPart:
    """What the host computes between two launches of a card: launches [first, end) of its step.

    reads: buffers of T rows that it finds filled, writes: the one that it leaves; in this order they are the pointers of the card's launch."""

    first: int
    end: int
    reads: tuple[str, ...]
    writes: str


@dataclass(frozen=True)
class DraftPlan:
    """What guesses for the model of the plan. Its programs run over the step that will verify the guesses.

    block: rows of a segment, the latest token and the guesses after it.  mask_token: what stands for a guess in the step; None
    where any token does.  rows: most rows of a step of its programs.  logits, tokens: buffers of T rows: each row's logits
    and choice for the token at its own place; the first row of a segment keeps its token.  observing: program of the target ->
    how many of its last launches only write the draft model's inputs: a step may leave them out (Step.observed)."""

    name: str
    block: int
    mask_token: int | None
    rows: int
    logits: str
    tokens: str
    observing: dict[Program, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineStage:
    """The part of a model that a plan runs: layers `ranges[number]`, (first, last), of those that the plans of its bundle share out.

    received: buffers of T rows that a step finds filled; sent: those that it leaves for stages after it."""

    number: int
    ranges: tuple[tuple[int, int], ...]
    received: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()

    @property
    def is_last(self) -> bool:
        return self.number == len(self.ranges) - 1


@dataclass(frozen=True)
class TensorRank:
    """The part of every layer that a plan computes, of `count` plans in its bundle that run together.

    They exchange values in launches of their own, all in the same order."""

    number: int
    count: int


@dataclass(frozen=True)
class Plan:
    """programs: the launches of each, in order: STEP on the host, DECODE, PREFILL and SAMPLE on GPUs, see Program.

    logits: the buffer that holds them after a step; "" where a later stage makes them.
    taps: name ("last_hidden", "hidden[3]") -> the buffer of T rows that holds it after a step."""

    arch: str
    context: int
    slots: int
    max_rows: int
    max_outputs: int
    vocab: int
    arena_bytes: int
    logits: str
    buffers: tuple[Buffer, ...]
    weights: tuple[WeightRef, ...]
    consts: tuple[ConstRef, ...]
    states: tuple[StateRef, ...]
    kernels: tuple[Kernel, ...]
    programs: dict[Program, tuple[Launch, ...]]
    library: str | None = None  # host: file with all kernels and the tape
    taps: dict[str, str] = field(default_factory=dict)
    draft: DraftPlan | None = None
    journal_rows: int = 0  # rows of a slot that recurrent states can keep uncommitted
    cpu: tuple[str, ...] = ()  # host: instruction sets that the library needs
    profile: str = "exact"  # one of target.profiles.PROFILES
    stage: PipelineStage | None = None  # None: the whole model
    parts: tuple[HostedPart, ...] = ()  # of the host's plan beside those of cards: nothing but experts
    rank: TensorRank | None = None  # None: all of every layer

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)

    @property
    def name(self) -> str:
        """In its bundle: "gfx1100", with the layers of a stage "gfx1100:0-19", of a rank "gfx1100:rank0", of experts alone
        "host:experts"."""
        if self.parts:
            return f"{self.arch}:{EXPERTS}"
        if self.rank is not None:
            return f"{self.arch}:rank{self.rank.number}"
        if self.stage is None:
            return self.arch
        first, last = self.stage.ranges[self.stage.number]
        return f"{self.arch}:{first}-{last}"

    @property
    def leaves_experts(self) -> bool:
        """Some of its launches are the host's."""
        return any(launch.hosted is not None for launches in self.programs.values() for launch in launches)

    @property
    def is_recurrent(self) -> bool:
        """Some state is carried from row to row, beside caches of positions."""
        return any("k" not in state.planes for state in self.states)

    @property
    def uncommitted_rows(self) -> int:
        """Most rows of a slot that a step may leave uncommitted: caches of positions need no journal for it."""
        return self.journal_rows if self.is_recurrent else JOURNAL_ROWS

    def weight_bytes(self, row_bytes) -> int:
        """row_bytes(format, elements) -> bytes."""
        total = 0
        for w in self.weights:
            rows = 1
            for n in w.shape[:-1]:
                rows *= n
            total += rows * row_bytes(w.format, w.shape[-1])
        return total


@dataclass(frozen=True)
class Bundle:
    """model: name, source (hf | gguf), weights path, config facts (eos ids, …).  plans: by Plan.name: one for each arch, or the stages of
    a pipeline or the ranks of a model in order.  files: name -> content.

    trusted: its user vouches for the code in it, wherever it was made."""

    model: dict[str, Any]
    plans: dict[str, Plan]
    files: dict[str, bytes]
    trusted: bool = False

    @property
    def is_staged(self) -> bool:
        """Its plans are the stages of one pipeline."""
        return any(plan.stage for plan in self.plans.values())

    @property
    def is_ranked(self) -> bool:
        """Its plans are the ranks of one model, which run every step together."""
        return any(plan.rank for plan in self.plans.values())

    def experts_of(self, plan: Plan) -> Plan | None:
        """The host's plan beside the plan of a card, where that leaves experts to it."""
        beside = next((other for other in self.plans.values() if other.parts), None)
        return beside if plan.leaves_experts else None

    def digest(self, file: str) -> str:
        """The hash of one of its files, as the manifest keeps it."""
        return hashlib.sha256(self.files[file]).hexdigest()

    def pack(self) -> bytes:
        """The bundle as the bytes of its file."""
        manifest = {
            "version": BUNDLE_VERSION,
            "model": self.model,
            "plans": {name: asdict(plan) for name, plan in self.plans.items()},
            "files": {name: self.digest(name) for name in self.files},
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(MANIFEST, json.dumps(manifest))
            for name, data in self.files.items():
                archive.writestr(name, data)
        return out.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the bundle whole or not at all: an older file stays when the disk is full."""
        write_whole(Path(path), self.pack(), "the bundle")


class MeetingWords:
    """u64 words in a card's memory for each value that is exchanged: the address of the word that says which turn this is, that of the
    host's word that ends all waiting, for each rank the address of this one's word there, and a word into which each of the others writes
    the turn for which it has come. All zero where the threads of the host meet."""

    TURN = 0
    BROKEN = 1
    THERE = 2
    HERE = 16
    END = 32


def inbox_of(rank: int) -> str:
    """The buffer for what another rank's card cannot be asked for itself."""
    return f"of_rank{rank}"


def pointer_table(plan: Plan) -> list[Pointer]:
    """Every pointer of the plan once, in order of first use: what the launch tape's indices mean."""
    launches = (launch for program in plan.programs.values() for launch in program)
    return list(dict.fromkeys(pointer for launch in launches for pointer in launch.pointers))


def weight_sizes(plan: Plan) -> dict[Pointer, int]:
    """Pointer of each weight -> all of its bytes."""
    return {w.pointer: math.prod(w.shape[:-1]) * weight_format(w.format).row_bytes(w.shape[-1]) for w in plan.weights}


def at_most_once(launch: Launch, rows: int, weights: Mapping[Pointer, int], buffers: Mapping[Pointer, int]) -> int:
    """Bytes of a launch by step and by rows, but no more than all weights once: many rows choose the same expert.

    weights, buffers: pointer -> bytes, of a buffer those of a row."""
    by_rows = launch.bytes["step"] + launch.bytes["row"] * rows
    if not any(p in weights for p in launch.pointers):
        return by_rows
    return min(by_rows, sum(weights.get(p, 0) + rows * buffers.get(p, 0) for p in launch.pointers))

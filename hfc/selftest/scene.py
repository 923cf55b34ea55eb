"""One launch's surroundings, twice: as bytes for the device, as values for the interpreter. Everything is drawn by a seed."""

from __future__ import annotations

from dataclasses import field, replace

import numpy as np

from hfc.backend.emit import storage
from hfc.base.dataclass import dataclass
from hfc.formats import KV_FORMATS, weight_format
from hfc.formats.tile import pack_tiles
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.interpret import KvCache
from hfc.ir.ops import definition
from hfc.ir.roles import of_experts, reads_as
from hfc.plan import MeetingWords, Plan, StateRef, WeightRef
from hfc.pointer import Pointer
from hfc.runtime.upload import WeightSource
from hfc.selftest.packed import readable
from hfc.step import Step

UNWRITTEN = 0xFF  # fills outputs and the rows after the step's: NaN as f32


@dataclass
class Scene:
    """memory: pointer -> uint8 content.  values: what the interpreter reads for each input of the region."""

    step: Step
    memory: dict[Pointer, np.ndarray] = field(default_factory=dict)
    values: dict[Value, object] = field(default_factory=dict)


class Stage:
    """Sets scenes for the regions of a plan's fused graph."""

    def __init__(self, graph: Graph, plan: Plan, weights: WeightSource):
        self._graph, self._plan, self._weights = graph, plan, weights
        self._sources = storage(graph)
        self._buffers = {b.name: b for b in plan.buffers}
        self._states = {s.name: s for s in plan.states}
        self._consts = {c.name: c for c in plan.consts}
        self._refs = {w.name: w for w in plan.weights}

    def state_of(self, value: Value) -> StateRef | None:
        """The state that a value is the content of."""
        op = self._sources.get(value)
        return self._states[op.attrs["name"]] if op and op.is_state else None

    def rows(self, value: Value, step: Step) -> int:
        return len(step.output_rows) if value.type.shape[0] == "R" else len(step.tokens)

    def scene(self, region: Op, pointers: tuple[Pointer, ...], step: Step, seed: int) -> Scene:
        """Random inputs for `region`, whose launches read and write `pointers`."""
        scene, rng = Scene(step), np.random.default_rng(seed)
        for value in region.inputs:
            self._set_input(scene, region, value, rng)
        for pointer in pointers:
            if pointer not in scene.memory:
                self._set_pointer(scene, pointer)
        return scene

    def interpret(self, region: Op, scene: Scene) -> dict[Value, object]:
        """Every value of the region as the interpreter makes it."""
        values = dict(scene.values)
        for op in region.body.walk():
            assert not op.is_source and op.body is None, "a region holds plain ops"
            spec = definition(op.kind)
            extra = {"step": scene.step} if spec.wants_step else {}
            result = spec.meaning(*(values[v] for v in op.inputs), **op.attrs, **extra)
            values |= zip(op.outputs, result if isinstance(result, tuple) else (result,))
        return values

    def _set_input(self, scene: Scene, region: Op, value: Value, rng: np.random.Generator) -> None:
        op = self._sources.get(value)
        if value in self._graph.inputs[:1]:
            scene.values[value] = scene.step.tokens
        elif op is None:
            self._set_activation(scene, region, value, rng)
        elif op.is_peer:
            pointer = Pointer.peer(op.attrs["name"], op.attrs["rank"])
            self._set_activation(scene, region, value, rng, pointer)
        elif op.is_state:
            self._set_state(scene, value, rng)
        elif op.is_const:
            ref = self._consts[str(op.attrs["recipe"])]
            raw = self._weights.const(ref)
            shape = [self._plan.context if n == "C" else n for n in value.type.shape]
            scene.values[value] = raw.view(np.float32).reshape(shape)
            scene.memory[ref.pointer] = raw.reshape(-1).view(np.uint8)
        else:
            self._set_weight(scene, op)

    def _set_activation(
        self, scene: Scene, region: Op, value: Value, rng: np.random.Generator, pointer: Pointer | None = None
    ) -> None:
        """pointer: of a value that does not lie in the plan's own buffer."""
        pointer = pointer or Pointer.buffer(value.name)
        shape = (self.rows(value, scene.step), *value.type.shape[1:])
        routed = [op for op in region.body.walk() if of_experts(op)]
        if value.type.dtype == "i32" and not routed:
            drawn = _numbers(region, value, scene.step, shape, rng, self._plan.vocab)
        # experts: the chosen ones of a row differ; most rows choose the first, few the last
        elif value.type.dtype == "i32":
            experts = routed[0].inputs[1].type.shape[0]
            crowd = np.linspace(0.0, 1.0, experts)
            drawn = np.argsort(rng.random((shape[0], experts)) + crowd, axis=1)[:, : shape[1]]
            drawn = rng.permuted(drawn, axis=1).astype(np.int32)
        else:
            drawn = rng.standard_normal(shape, np.float32)
        scene.values[value] = drawn
        content = self._blank(pointer.name)
        content[: drawn.nbytes] = drawn.reshape(-1).view(np.uint8)
        scene.memory[pointer] = content

    def _set_state(self, scene: Scene, value: Value, rng: np.random.Generator) -> None:
        ref, plan = self.state_of(value), self._plan
        if value.type.dtype != "kv":
            shape = (plan.slots, *value.type.sizes(1))
            drawn = rng.standard_normal(shape, np.float32)
            scene.values[value] = drawn
            scene.memory[Pointer.state(ref.name)] = drawn.reshape(-1).view(np.uint8).copy()
            if "journal" in ref.planes:
                journal = np.full(ref.planes["journal"] * plan.slots, UNWRITTEN, np.uint8)
                scene.memory[Pointer.state(ref.name, "journal")] = journal
            return
        shape, used, planes = _places(ref, plan), ref.places(used_context(scene.step)), {}
        for plane, name in ref.formats.items():
            form = KV_FORMATS[name]
            packed = np.zeros((*shape[:3], form.row_bytes(shape[3])), np.uint8)
            packed[:, :, :used] = form.pack(rng.standard_normal((*shape[:2], used, shape[3]), np.float32))
            scene.memory[Pointer.state(ref.name, plane)] = packed.reshape(-1)
            planes[plane] = np.array(form.unpack(packed[:, :, :used]), np.float32)
        scene.values[value] = KvCache(planes["k"], planes["v"], ref.formats["k"], ref.formats["v"], ref.every)

    def _set_weight(self, scene: Scene, op: Op) -> None:
        """The weight as values; its layouts are set with the pointers that name them."""
        ref = next(w for w in self._plan.weights if w.name.split("@")[0] == op.attrs["name"])
        scene.values[op.output] = readable(weight_format(ref.format), self._stored(ref), ref.shape)

    def _set_pointer(self, scene: Scene, pointer: Pointer) -> None:
        """A weight in the layout that is read, or memory that the launch writes."""
        if pointer.kind == "weight":
            ref = self._refs[pointer.name]
            stored = self._stored(ref)
            packed = pack_tiles(weight_format(ref.format), stored, ref.shape) if ref.layout == "tile16" else stored
            scene.memory[pointer] = packed.reshape(-1).view(np.uint8)
        elif pointer.kind == "meeting":
            scene.memory[pointer] = np.zeros(8 * MeetingWords.END, np.uint8)  # nobody is waited for
        elif pointer.kind == "buffer":
            scene.memory[pointer] = self._blank(pointer.name)
        else:
            raise AssertionError(f"{pointer}: the launch names what its region does not read")

    def _stored(self, ref: WeightRef) -> np.ndarray:
        """uint8 [..., row_bytes]"""
        raw = self._weights.weight(replace(ref, layout="rows"))
        return raw.reshape(*ref.shape[:-1], weight_format(ref.format).row_bytes(ref.shape[-1]))

    def _blank(self, name: str) -> np.ndarray:
        buffer = self._buffers[name]
        limit = self._plan.max_outputs if buffer.rows == "R" else self._plan.max_rows
        return np.full(limit * buffer.row_bytes, UNWRITTEN, np.uint8)


def _places(ref: StateRef, plan: Plan) -> tuple[int, int, int, int]:
    """Slots, heads, places and elements of a KV cache."""
    return plan.slots, int(ref.shape[1]), ref.places(plan.context), int(ref.shape[3])


def _numbers(
    region: Op, value: Value, step: Step, shape: tuple[int, ...], rng: np.random.Generator, vocab: int
) -> np.ndarray:
    """i32 of `shape`: what the region's ops may read by them. Tokens, or numbers of elements; of a cache, positions with a place that the row
    sees, rising, then -1."""
    reader = next((op for op in region.body.walk() if value in reads_as(op, "ids")), None)
    if reader is not None and reads_as(reader, "cache"):
        drawn = np.full(shape, -1, np.int32)
        every = reads_as(reader, "cache")[-1].type.every
        for row, position in enumerate(step.positions):
            seen = np.sort(rng.permutation((position + 1) // every)[: shape[1]])
            drawn[row, : len(seen)] = (seen + 1) * every - 1
        return drawn
    by_rows = reader is not None and not reads_as(reader, "gathered")
    limit = reader.inputs[0].type.size(-1) if reader is not None and by_rows and len(reader.inputs) > 1 else vocab
    return rng.integers(0, limit, shape).astype(np.int32)


def used_context(step: Step) -> int:
    """Positions that the step reads or writes in some slot."""
    return max(s.position + s.rows for s in step.segments)

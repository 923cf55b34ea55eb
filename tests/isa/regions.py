"""Small graphs around one kernel region each, with random weights, compiled for one arch and run in the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hfc.backend import gpu
from hfc.backend.emit import emit
from hfc.emulated import EmulatedLauncher
from hfc.formats import weight_format
from hfc.formats.recipe import apply, tensor
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import OPS
from hfc.ir.text import print_op
from hfc.passes.pipeline import run_passes
from hfc.passes.rotate_inputs import rotate_inputs
from hfc.passes.settings import Settings, parse_kv
from hfc.plan import Bundle, Plan
from hfc.pointer import Pointer
from hfc.runtime.random_weights import RandomWeights
from hfc.selftest import KernelCheck, check_plan
from hfc.selftest.check import places_of
from hfc.selftest.scene import Stage
from hfc.step import Segment, Step
from hfc.target.arch import find_arch

VOCAB, EPS = 40, 1e-6


class Region:
    """A graph on one arch: what `hfc selftest` does to a plan, on graphs of a few launches."""

    def __init__(
        self,
        graph: Graph,
        arch: str,
        kv: str = "f16",
        context: int = 64,
        slots: int = 4,
        max_rows: int = 176,
        profile: str = "exact",
    ):
        k_format, v_format, _edges = parse_kv(kv)
        settings = Settings(find_arch(arch), context, slots, max_rows, 32, k_format, v_format, profile=profile)
        self.graph = run_passes(rotate_inputs(graph, None), settings)
        self.plan, files = gpu.build(emit(self.graph, settings, gpu.MATRIX_LAYOUT), settings)
        self.weights = RandomWeights(context)
        self.launcher = EmulatedLauncher(Bundle({}, {arch: self.plan}, files), self.plan)

    def check(self, steps=None) -> list[KernelCheck]:
        more = {"steps": steps} if steps else {}
        return list(check_plan(self.plan, self.graph, self.launcher, self.weights, False, lambda _: None, **more))

    def rows_that_differ(self, stem: str, position: int) -> Iterator[str]:
        """D10: rows 0, 6 and 15 of a decode step of 16 rows, each alone and in a step of 4 rows, bit for bit."""
        stage = Stage(self.graph, self.plan, self.weights)
        regions = {print_op(op): op for op in self.graph.ops if op.kind == "kernel"}
        for kernel, places in places_of(self.plan, "decode", regions).items():
            region, numbers = places[0]
            if region.attrs["stem"] != stem:
                continue
            pointers = tuple(dict.fromkeys(p for n in numbers for p in self.plan.programs["decode"][n].pointers))
            whole = Step.single(np.arange(16) % VOCAB, position, 1)
            scene = stage.scene(region, pointers, whole, seed=3)
            before = {p: data.copy() for p, data in scene.memory.items()}
            self._run(numbers, scene.memory, whole)
            for first, count in ((0, 1), (6, 1), (15, 1), (12, 4)):
                part = Step.single(whole.tokens[first : first + count], position + first, 1)
                memory = {p: self._shifted(p, data, first) for p, data in before.items()}
                self._run(numbers, memory, part)
                for value in _of_single_rows(region):
                    pointer = Pointer.buffer(value.name)
                    nbytes = self._row_bytes(pointer)
                    mine, theirs = (
                        memory[pointer][: count * nbytes],
                        scene.memory[pointer][first * nbytes : (first + count) * nbytes],
                    )
                    if not np.array_equal(mine, theirs):
                        yield f"{kernel}: {pointer}, rows {first} to {first + count - 1}"

    def _run(self, numbers: list[int], memory: dict[str, np.ndarray], step: Step) -> None:
        for number in numbers:
            launch = self.plan.programs["decode"][number]
            self.launcher.run("decode", number, {p: memory[p] for p in launch.pointers}, step)

    def _row_bytes(self, pointer: str) -> int:
        return next(b.row_bytes for b in self.plan.buffers if b.pointer == pointer)

    def _shifted(self, pointer: str, data: np.ndarray, first: int) -> np.ndarray:
        """Memory in which row `first` is row 0; states and weights as they are."""
        return np.roll(data, -first * self._row_bytes(pointer)) if pointer.kind == "buffer" else data.copy()


def _of_single_rows(region: Op) -> Iterator[Value]:
    """The outputs that lie in buffers and come of no row before them, as those of a state do."""
    carried = {v for op in region.inner if OPS[op.kind].state for v in op.outputs}
    for op in region.inner:
        carried.update(op.outputs if carried & set(op.inputs) else ())
    return (value for value in region.outputs if value not in carried)


class Builder(GraphBuilder):
    """Starts with token embeddings; every weight is named after its place."""

    def __init__(self):
        super().__init__("region")
        self.tokens = self.input("tokens", "i32", ("T",))

    def vectors(self, name: str, size: int) -> Value:
        return self.op("gather", self.matrix(name, "f32", VOCAB, size), self.tokens)

    def matrix(self, name: str, format: str, *shape: int) -> Value:
        return self.weight(name, format, shape, tensor(name))

    def normed(self, x: Value) -> Value:
        return self.op(
            "rms_norm", x, self.weight("norm", "f32", (x.type.shape[-1],), apply("add", tensor("norm"), c=1.0)), eps=EPS
        )


def linear(format: str, k: int, n: int, residual: bool = False) -> Graph:
    """norm(x) wᵀ, plus another vector if there is a residual."""
    b = Builder()
    x = b.vectors("embed", k)
    y = b.op("linear", b.normed(x), b.matrix("w", format, n, k))
    if residual:
        y = b.op("add", y, b.vectors("other", n))
    return b.finish(_head(b, y))


def zipped(format: str, k: int, n: int) -> Graph:
    """silu(gate) · up, two weights in one kernel"""
    b = Builder()
    x = b.normed(b.vectors("embed", k))
    gate, up = (b.op("linear", x, b.matrix(name, format, n, k)) for name in ("gate", "up"))
    return b.finish(_head(b, b.op("mul", b.op("silu", gate), up)))


def experts(format: str, k: int, n: int, count: int = 5, top: int = 2) -> Graph:
    """Each row through `top` of `count` experts, gate and up zipped, then down, weighted and summed."""
    b = Builder()
    x = b.normed(b.vectors("embed", k))
    weights, ids = b.op("route", b.op("linear", x, b.matrix("router", "f32", count, k)), top=top, normalize=True)
    gate, up = (b.op("expert_linear", x, b.matrix(name, format, count, n, k), ids) for name in ("gate", "up"))
    y = b.op("mul", b.op("silu", gate), up)
    y = b.op("expert_linear", y, b.matrix("down", "f16", count, k, n), ids)
    return b.finish(_head(b, b.op("weighted_sum", y, weights)))


def biased_experts(format: str, k: int, n: int, count: int = 5, top: int = 2) -> Graph:
    """Experts with biases and a clamped SwiGLU, a router with a bias, and a shared expert whose epilogue adds their sum."""
    b = Builder()
    x = b.normed(b.vectors("embed", k))
    logits = b.op("linear", x, b.matrix("router", "f32", count, k))
    weights, ids = b.op("route", logits, b.matrix("choice", "f32", count), top=top, score="sigmoid", scale=2.5)
    gate, up = (
        b.op("add", b.op("expert_linear", x, b.matrix(name, format, count, n, k), ids), b.op("gather", b.matrix(f"{name}_bias", "f32", count, n), ids))
        for name in ("gate", "up")
    )  # fmt: skip
    gate, up = b.op("clamp", gate, high=1.5), b.op("clamp", up, low=-1.5, high=1.5)
    h = b.op("mul", b.op("mul", gate, b.op("sigmoid", b.op("scale", gate, by=1.702))), b.op("shift", up, by=1.0))
    y = b.op("expert_linear", h, b.matrix("down", "f16", count, k, n), ids)
    y = b.op("add", y, b.op("gather", b.matrix("down_bias", "f32", count, k), ids))
    y = b.op("weighted_sum", y, weights)
    return b.finish(_head(b, b.op("add", y, b.op("linear", x, b.matrix("shared", format, k, k)))))


def attention(heads: int, kv_heads: int, size: int, window: int = 0, softcap: float = 0.0) -> Graph:
    """Cache write with a norm and rotary positions, then attention."""
    b = Builder()
    q, k, v = (
        b.op("reshape", b.vectors(name, count * size), shape=(count, size))
        for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))
    )
    angles = b.const(apply("rope_table", rotary=size // 2 // 2 * 2, theta=1e4), ("C", size // 2 // 2 * 2))
    kv = b.state("kv", TensorType("kv", ("S", kv_heads, "C", size)))
    kv = b.op("kv_append", kv, b.op("rope", k, angles), v)
    y = b.op("attend", b.op("rope", q, angles), kv, scale=size**-0.5, window=window, softcap=softcap)
    return b.finish(_head(b, b.op("reshape", y, shape=(heads * size,))))


def entries(
    heads: int, size: int, window: int, every: int, runs: int, top: int = 0, asked: int = 5, asked_size: int = 16
) -> Graph:
    """Entries made of runs of tokens, those that a row chooses (top 0: all), and attention over them beside a window."""
    b = Builder()

    def heads_of(name: str, count: int, size: int) -> Value:
        return b.op("reshape", b.vectors(name, count * size), shape=(count, size))

    def cache(name: str, x: Value, places: str = "C") -> Value:
        return b.op("kv_append", b.state(name, TensorType("kv", ("S", 1, places, x.type.size(2)))), x, x)

    kept = b.state("kept", TensorType("f32", ("S", runs * every + 16, 2 * runs * size)))
    tokens = [b.vectors(name, runs * size) for name in ("values", "gates")]
    y, _kept = b.op("pool", *tokens, b.matrix("bias", "f32", every, runs * size), kept, runs=runs)
    places = f"C{every}" if every > 1 else "C"
    made = cache("entries", b.op("reshape", y, shape=(1, size)), places)
    near = cache("kv", heads_of("row", 1, size))
    more = [b.matrix("sinks", "f32", heads)]
    if top:
        keys = cache("index", heads_of("key", 1, asked_size), places)
        asked_for = heads_of("asked", asked, asked_size), b.vectors("weights", asked)
        more.append(b.op("choose", *asked_for, keys, top=top))
    y = b.op("attend_entries", heads_of("q", heads, size), near, made, *more, scale=size**-0.5, window=window)
    return b.finish(_head(b, b.op("reshape", y, shape=(heads * size,))))


def _head(b: Builder, y: Value) -> Value:
    return b.op("linear", y, b.matrix("head", "f32", VOCAB, y.type.shape[-1]))


def awkward_k(format: str, blocks: int) -> int:
    """An odd number of blocks; for plain scalars an odd number of elements."""
    form = weight_format(format)
    return blocks * form.block if form.quantized else 32 * blocks + 3


def steps_at(*positions: int):
    """Steps of one row at each position, and of three segments, for decode; a chunk that ends there for prefill."""

    def steps(program: str, plan: Plan) -> list[Step]:
        if program != "decode":
            return [_prefill(p, plan) for p in positions]
        tokens = np.arange(len(positions), dtype=np.int32)
        segments = tuple(Segment(i, i, 1, p) for i, p in enumerate(positions))
        return [Step.single([7], p, slot) for slot, p in enumerate(positions)] + [Step(tokens, segments, tokens[:2])]

    return steps


def _prefill(position: int, plan: Plan) -> Step:
    rows = min(19, position + 1)
    tokens = np.arange(rows + 2, dtype=np.int32) % VOCAB
    segments = (Segment(0, 0, rows, position + 1 - rows), Segment(1, rows, 2, 0))
    return Step(tokens, segments, np.array([0, rows], np.int32))

"""What draws random graphs: a checkpoint in memory, and a maker of ops.

A graph is drawn op by op, each with the numbers that a step gives it, so that what would overflow, cancel or decide between nearly equal
candidates stays a dead op instead of a difference that means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from hfc.formats import weight_format
from hfc.formats.checkpoint import evaluate
from hfc.formats.recipe import apply, tensor
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.interpret import KvCache
from hfc.ir.ops import OPS
from hfc.passes.rotate_inputs import rotate_inputs
from hfc.plan import ConstRef, WeightRef
from hfc.runtime.weights import load_const, load_weight
from hfc.step import Segment, Step

VOCAB, CONTEXT, SLOTS, MAX_ROWS = 24, 48, 2, 24
SIZES = (1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 33, 40, 64, 96, 128)
LARGEST = 512  # elements of a row
CHOICES = ("route", "argmax", "top_candidates", "select_candidates", "choose")
STEPS = (
    Step(np.array([3, 1, 4, 1, 5, 9, 2], np.int32), (Segment(1, 0, 3, 0), Segment(0, 3, 4, 0)), np.array([2, 3, 6])),
    Step(np.array([6, 5], np.int32), (Segment(0, 0, 1, 4), Segment(1, 1, 1, 3)), np.array([1, 0])),
    Step(np.array([8, 9, 7, 9, 3], np.int32), (Segment(1, 0, 5, 4),), np.array([4])),
)


@dataclass
class Store:
    """A checkpoint in memory, and a weight source for any device."""

    tensors: dict[str, tuple[str, tuple[int, ...], np.ndarray]] = field(default_factory=dict)
    path: str = "a random graph"
    files: tuple = ()  # none that are mapped

    def names(self):
        return self.tensors

    def info(self, name: str):
        return SimpleNamespace(format=self.tensors[name][0], shape=self.tensors[name][1])

    def loaded(self, name: str):
        format, _shape, raw = self.tensors[name]
        return format, raw

    def release(self) -> None:
        pass

    def weight(self, ref: WeightRef) -> np.ndarray:
        return load_weight(ref, self, CONTEXT)

    def const(self, ref: ConstRef) -> np.ndarray:
        return load_const(ref, self, CONTEXT)

    def value(self, op: Op) -> np.ndarray:
        """What an interpreter reads for a weight or a table."""
        data = evaluate(op.attrs["recipe"], self, CONTEXT)
        return np.asarray((data.with_shape(op.output.type.shape) if op.kind == "weight" else data).f32(), np.float32)


class Maker:
    """Draws ops. `values`: what later ops may read, f32 [T, ...]; `ids`: i32 [T, top] with how many there are to choose from."""

    def __init__(self, seed: int, name: str = "random"):
        self.rng = np.random.default_rng(seed)
        self.builder, self.store = GraphBuilder(name), Store()
        self.tokens = self.builder.input("tokens", "i32", ("T",))
        self.values: list[Value] = []
        self.ids: list[tuple[Value, Value, int]] = []  # chosen, their scores, of how many
        self.env: dict[Value, object] = {self.tokens: STEPS[0].tokens}
        self._count = 0

    def one(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def vector(self, *shape: int, format: str = "f32", low: float | None = None) -> Value:
        """A weight. low: all of its elements lie above."""
        self._count += 1
        name, raw = f"w{self._count}", self.rng.standard_normal(shape).astype(np.float32)
        values = np.abs(raw) + np.float32(low) if low is not None else raw
        if len(shape) > 1 and low is None and format != "f32" or len(shape) == 2:
            values = values / np.float32(math.sqrt(shape[-1]))
        packed = weight_format(format).pack(values)
        self.store.tensors[name] = format, shape, packed
        value = self.builder.weight(name, format, shape, tensor(name))
        self.env[value] = self.store.value(self.builder.graph.ops[-1])
        return value

    def matrix(self, n: int, k: int, *lead: int) -> Value:
        fitting = [
            f for f, block in (("f32", 1), ("bf16", 1), ("q8_0", 32), ("q4_0", 32), ("mq6g256", 256)) if k % block == 0
        ]
        return self.vector(*lead, n, k, format=self.one(*fitting))

    def table(self, rotary: int) -> Value:
        value = self.builder.const(apply("rope_table", rotary=rotary, theta=self.one(100.0, 1e4)), ("C", rotary))
        self.env[value] = self.store.value(next(op for op in self.builder.graph.ops if value in op.outputs))
        return value

    def scale_table(self) -> Value:
        value = self.builder.const(
            apply("position_scale", beta=0.3, period=float(self.one(1, 2)), offset=0.0), ("C", 1)
        )
        self.env[value] = self.store.value(next(op for op in self.builder.graph.ops if value in op.outputs))
        return value

    def state(self, type: TensorType) -> Value:
        self._count += 1
        value = self.builder.state(f"s{self._count}", type)
        if type.dtype == "kv":
            zeros = np.zeros((SLOTS, type.size(1), type.places(CONTEXT), type.size(3)), np.float32)
            self.env[value] = KvCache(zeros, zeros.copy(), "f32", "f32", type.every)
        else:
            self.env[value] = np.zeros((SLOTS, *type.sizes(1)), np.float32)
        return value

    def fresh(self, *shape: int) -> Value:
        """A new value [T, *shape], out of a table."""
        size = math.prod(shape)
        rows = self.op(
            "gather",
            self.vector(VOCAB, size, format=self.one("f32", "bf16", *["q8_0"] * (size % 32 == 0))),
            self.tokens,
        )
        rows = self.op("scale", rows, by=math.sqrt(size)) if size > 1 else rows
        return rows if len(shape) == 1 and self.chance(0.7) else self.op("reshape", rows, shape=shape)

    def shape(self) -> tuple[int, ...]:
        while True:
            shape = tuple(int(self.one(*SIZES)) for _ in range(self.one(1, 1, 2, 2, 3)))
            if math.prod(shape) <= LARGEST:
                return shape

    def any(self, fits: Callable[[tuple[int, ...]], bool] = lambda shape: True, *shape: int) -> Value:
        """A value of before that fits, or a new one of `shape`."""
        known = [v for v in self.values if fits(v.type.shape[1:])]
        if known and self.chance(0.8):
            return (
                known[max(0, len(known) - 1 - int(self.rng.exponential(2.0)))] if self.chance(0.7) else self.one(*known)
            )
        return self.fresh(*(shape or self.shape()))

    def of(self, *shape: int) -> Value:
        """A value of exactly this shape; by a linear now and then, so that kernels meet."""
        if self.chance(0.3):
            k = int(self.one(32, 33, 40, 64, 256))
            x = self.any(lambda s: s == (k,), k)
            flat = self.op("linear", x, self.matrix(math.prod(shape), k))
            return flat if len(shape) == 1 else self.op("reshape", flat, shape=shape)
        return self.any(lambda s: s == shape, *shape)

    def op(self, kind: str, *inputs: Value, **attrs):
        """Append it and keep its results for later ops if their numbers are tame."""
        result = self.builder.op(kind, *inputs, **attrs)
        outputs = result if isinstance(result, tuple) else (result,)
        done = self.builder.graph.ops[-1]
        spec = OPS[kind]
        extra = {"step": STEPS[0]} if spec.wants_step else {}
        with np.errstate(all="ignore"):
            found = spec.meaning(*(self.env[v] for v in inputs), **done.attrs, **extra)
        for value, array in zip(outputs, found if isinstance(found, tuple) else (found,)):
            self.env[value] = array
            if value.type.dtype == "f32" and value.type.shape[0] == "T" and is_tame(array):
                self.values.append(value)
        return result

    def is_tame(self, value: Value) -> bool:
        return is_tame(np.asarray(self.env[value]))

    def finish(self, taps: int = 6) -> tuple[Graph, tuple[str, ...]]:
        """The graph with its logits, and the names of the further outputs."""
        tame = [v for v in self.values if v.type.shape[0] == "T"]
        last = tame[-1]
        rows = self.op("reshape", last, shape=(math.prod(last.type.shape[1:]),)) if len(last.type.shape) != 2 else last
        logits = self.builder.op("linear", rows, self.matrix(VOCAB, rows.type.shape[1]))
        count = min(taps, len(tame))
        chosen = [tame[i] for i in sorted(self.rng.choice(len(tame), count, replace=False))] if count else []
        graph = self.builder.finish(logits, *dict.fromkeys(v for v in chosen if v is not logits))
        graph = rotate_inputs(graph)
        return graph, tuple(f"tap{i}" for i in range(len(graph.outputs) - 1))


def is_tame(array: np.ndarray) -> bool:
    """Finite, neither huge nor vanishing, so that a relative error means something."""
    return bool(
        np.isfinite(array).all()
        and 1e-2 < np.sqrt(np.mean(np.square(array, dtype=np.float64)))
        and np.abs(array).max() < 1e3
    )


def is_clear(scores: np.ndarray, top: int) -> bool:
    """The choice of the largest does not hang on rounding."""
    falling = -np.sort(-scores, axis=-1)[..., : top + 1]
    return bool((falling[..., :-1] - falling[..., 1:] > 5e-3 * np.abs(scores).max()).all())


def decided(graph: Graph) -> set[Value]:
    """What hangs on a choice between candidates, which was seen to be clear in the first step alone."""
    found: set[Value] = set()
    for op in graph.ops:
        if op.kind in CHOICES or found.intersection(op.inputs):
            found.update(op.outputs)
    return found

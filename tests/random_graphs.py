"""Small graphs at random: every op, odd sizes, axes of size 1, results that nothing reads, norms anywhere, several states.

A graph is drawn op by op, each with the numbers that a step gives it, so that what would overflow, cancel or decide between nearly equal
candidates stays a dead op instead of a difference that means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from hfc.base.diagnostics import HfcError
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
CHOICES = ("route", "argmax", "top_candidates", "select_candidates")
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

    def state(self, type: TensorType) -> Value:
        self._count += 1
        value = self.builder.state(f"s{self._count}", type)
        shape = tuple({"S": SLOTS, "C": CONTEXT}.get(n, n) for n in type.shape)
        zeros = np.zeros(shape, np.float32)
        self.env[value] = KvCache(zeros, zeros.copy(), "f32", "f32") if type.dtype == "kv" else zeros
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


# one maker an op ------------------------------------------------------------------------------------------------------

MAKERS: dict[str, Callable[[Maker], None]] = {}


def maker(kind: str):
    def register(function):
        MAKERS[kind] = function
        return function

    return register


def _unary(kind: str, **attrs):
    def make(m: Maker) -> None:
        m.op(kind, m.any(), **{name: draw(m) for name, draw in attrs.items()})

    MAKERS[kind] = make


for _kind in ("neg", "exp", "tanh", "relu", "sigmoid", "silu", "softplus", "gelu_tanh", "gelu"):
    _unary(_kind)
_unary("clamp", low=lambda m: m.one(None, -0.5), high=lambda m: float(m.one(0.25, 2.0)))
for _kind in ("shift", "scale"):
    _unary(_kind, by=lambda m: float(m.one(-1.5, 0.25, 1.0, 3.0)))


def _second(m: Maker, x: Value, low: float | None) -> Value:
    """What broadcasts with x: a value of its shape or with axes of size 1, or a weight of its trailing axes."""
    shape = x.type.shape[1:]
    thin = tuple(1 if m.chance(0.3) else n for n in shape)
    if m.chance(0.5):
        trailing = thin[m.rng.integers(len(thin)) :]
        return m.vector(*trailing, low=low)
    y = m.of(*(shape if m.chance(0.6) else thin))
    return m.op("shift", m.op("sigmoid", y), by=low) if low is not None else y


def _binary(kind: str) -> None:
    def make(m: Maker) -> None:
        x = m.any()
        y = _second(m, x, 0.5 if kind == "div" else None)
        if kind != "div" and y.type.shape[0] == "T" and m.chance(0.5):
            x, y = y, x
        m.op(kind, x, y)

    MAKERS[kind] = make


for _kind in ("add", "sub", "mul", "div"):
    _binary(_kind)


def _norm(kind: str, has_weight: bool, **attrs) -> None:
    def make(m: Maker) -> None:
        x = m.any()
        if float(np.sqrt(np.mean(np.square(m.env[x]), axis=-1)).min()) < 0.1:
            return
        m.op(kind, x, *([m.vector(x.type.shape[-1])] if has_weight and m.chance(0.7) else []), **attrs)

    MAKERS[kind] = make


_norm("rms_norm", True, eps=1e-5)
_norm("l2_norm", False, eps=1e-5)
_norm("softmax", False)
_norm("sum", False)
_norm("mean", False)


@maker("layer_norm")
def _layer_norm(m: Maker) -> None:
    x = m.any(lambda s: s[-1] > 1, 24)
    if float(np.std(m.env[x], axis=-1).min()) > 0.1:
        m.op("layer_norm", x, *(m.vector(x.type.shape[-1]) for _ in range(m.one(0, 1, 2))), eps=1e-5)


@maker("reshape")
def _reshape(m: Maker) -> None:
    x = m.any()
    size = math.prod(x.type.shape[1:])
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    first = int(m.one(*divisors))
    second = int(m.one(*(d for d in divisors if (size // first) % d == 0)))
    m.op(
        "reshape",
        x,
        shape=m.one((size,), (first, size // first), (first, second, size // first // second), (1, size), (size, 1)),
    )


@maker("split")
def _split(m: Maker) -> None:
    x = m.any(lambda s: s[-1] > 1, 24)
    size = x.type.shape[-1]
    first = int(m.rng.integers(1, size))
    rest = size - first
    m.op("split", x, sizes=(first, rest) if rest < 2 or m.chance(0.5) else (first, 1, rest - 1))


@maker("concat")
def _concat(m: Maker) -> None:
    x = m.any(lambda s: s[-1] <= 128, 24)
    m.op("concat", x, m.of(*x.type.shape[1:-1], int(m.one(1, 3, 8, 32))))


@maker("pick_rows")
def _pick_rows(m: Maker) -> None:
    """Made by a pass, behind the logits of every graph."""


@maker("gather")
def _gather(m: Maker) -> None:
    if m.ids and m.chance(0.5):
        ids, _scores, count = m.one(*m.ids)
        m.op("gather", m.vector(count, int(m.one(1, 5, 32)), format="f32"), ids)
    else:
        m.fresh(*m.shape())


@maker("linear")
def _linear(m: Maker) -> None:
    k = int(m.one(32, 33, 40, 64, 96, 128, 256))
    x = m.any(lambda s: len(s) == 1, k)
    for _ in range(m.one(1, 1, 2, 3)):
        m.op("linear", x, m.matrix(int(m.one(*SIZES)), x.type.shape[-1]))


@maker("hadamard")
def _hadamard(m: Maker) -> None:
    """By way of a weight whose rows are rotated."""
    m.op(
        "linear",
        m.any(lambda s: s == (256,), 256),
        m.vector(int(m.one(3, 32, 40)), 256, format=m.one("mq4g256", "mq6g256")),
    )


@maker("route")
def _route(m: Maker) -> None:
    experts, top = int(m.one(4, 5, 8, 12)), int(m.one(1, 2, 3))
    logits = m.op("scale", m.of(experts), by=3.0)
    shares, ids = m.op("route", logits, top=top, normalize=m.chance(0.5))
    if is_clear(np.asarray(m.env[logits]), top):
        m.ids.append((ids, shares, experts))


def _chosen(m: Maker) -> tuple[Value, Value, int] | None:
    if not m.ids or m.chance(0.3):
        MAKERS["route"](m)
    return m.one(*m.ids) if m.ids else None


@maker("expert_linear")
def _expert_linear(m: Maker) -> None:
    if chosen := _chosen(m):
        ids, shares, experts = chosen
        k, top = int(m.one(32, 64, 256)), ids.type.shape[1]
        x = m.of(k) if m.chance(0.6) else m.of(top, k)
        y = m.op("expert_linear", x, m.matrix(int(m.one(8, 16, 33)), k, experts), ids)
        if m.chance(0.6):
            m.op("weighted_sum", y, shares)


@maker("weighted_sum")
def _weighted_sum(m: Maker) -> None:
    top = int(m.one(1, 2, 3))
    m.op("weighted_sum", m.of(top, int(m.one(1, 8, 33))), m.of(top))


@maker("rope")
def _rope(m: Maker) -> None:
    x = m.any(lambda s: len(s) == 2 and s[1] >= 2, 3, 16)
    rotary = min(x.type.shape[2] // 2 * 2, int(m.one(2, 4, 8, 128)))
    m.op("rope", x, m.table(rotary))


@maker("attend")
def _attend(m: Maker) -> None:
    kv_heads, group, head = int(m.one(1, 2, 3)), int(m.one(1, 2, 3)), int(m.one(8, 16, 32, 64))
    q, k, v = m.of(kv_heads * group, head), m.of(kv_heads, head), m.of(kv_heads, head)
    if m.chance(0.5):
        table = m.table(int(m.one(4, head)))
        q, k = m.op("rope", q, table), m.op("rope", k, table)
    if not all(map(m.is_tame, (q, k, v))):
        return
    kv = m.op("kv_append", m.state(TensorType("kv", ("S", kv_heads, "C", head))), k, v)
    for _ in range(m.one(1, 1, 1, 2)):
        window = int(m.one(0, 0, 3))
        m.op(
            "attend", q, kv, scale=head**-0.5, window=window, softcap=m.one(0.0, 0.0, 5.0),
            causal=m.chance(0.85), first=0 if window else int(m.one(0, 0, 2)),
        )  # fmt: skip
        q = m.of(kv_heads * group, head)


MAKERS["kv_append"] = _attend


@maker("causal_conv")
def _causal_conv(m: Maker) -> None:
    channels, taps = int(m.one(3, 16, 33, 64)), int(m.one(2, 3, 4))
    u, window = m.of(channels), m.state(TensorType("f32", ("S", channels, taps - 1)))
    if m.is_tame(u):
        y, _window = m.op("causal_conv", u, m.vector(channels, taps), window)
        m.op(m.one("silu", "tanh"), y)


@maker("gated_delta")
def _gated_delta(m: Maker) -> None:
    k_heads, per_key, dk, dv = int(m.one(1, 2)), int(m.one(1, 2, 3)), int(m.one(16, 32)), int(m.one(16, 32))
    v_heads = k_heads * per_key
    sizes = (k_heads * dk, k_heads * dk, v_heads * dv)
    channels = sum(sizes)
    u, window = m.of(channels), m.state(TensorType("f32", ("S", channels, 3)))
    beta, decay = m.op("sigmoid", m.of(v_heads)), m.op("neg", m.op("softplus", m.of(v_heads)))
    memory = m.state(TensorType("f32", ("S", v_heads, dk, dv)))
    before = list(m.values)
    y, _window = m.op("causal_conv", u, m.vector(channels, 4), window)
    q, k, v = m.op("split", m.op("silu", y), sizes=sizes)
    q, k = (m.op("l2_norm", m.op("reshape", x, shape=(k_heads, dk)), eps=1e-6) for x in (q, k))
    q = m.op("scale", q, by=dk**-0.5)
    v = m.op("reshape", v, shape=(v_heads, dv))
    out, _memory = m.op("gated_delta", q, k, v, decay, beta, memory, tiled=m.chance(0.3))
    m.values = [
        *before,
        *(v for v in m.values if v is out),
    ]  # its skeleton starts at the convolution, which nothing else reads
    if m.chance(0.6) and m.is_tame(out):
        m.op("rms_norm", out, m.vector(dv), eps=1e-5)


@maker("previous")
def _previous(m: Maker) -> None:
    x = m.any()
    m.op("previous", x, *([m.of(*x.type.shape[1:])] if m.chance(0.5) else []))


@maker("keep_first")
def _keep_first(m: Maker) -> None:
    x = m.any()
    m.op("keep_first", x, m.of(*x.type.shape[1:]))


@maker("recall")
def _recall(m: Maker) -> None:
    size = int(m.one(3, 32, 40))
    u, window = m.of(size), m.state(TensorType("f32", ("S", size, 1)))
    if m.is_tame(u):
        m.op("recall", window)
        m.op("causal_conv", u, m.vector(size, 2), window)


@maker("dynamic_conv")
def _dynamic_conv(m: Maker) -> None:
    groups, taps = int(m.one(1, 2, 4)), int(m.one(1, 2, 3))
    x = m.of(groups * int(m.one(1, 8, 12)))
    m.op("dynamic_conv", x, m.vector(taps, x.type.shape[1]), m.of(taps, groups))


@maker("argmax")
def _argmax(m: Maker) -> None:
    x = m.of(VOCAB)
    if is_clear(np.asarray(m.env[x]), 1):
        table = m.vector(VOCAB, int(m.one(1, 8, 32)))
        m.op("gather", table, m.op("keep_first", m.op("argmax", x), m.tokens))


@maker("top_candidates")
def _top_candidates(m: Maker) -> None:
    x, top = m.of(int(m.one(12, 24))), int(m.one(1, 2, 4))
    values, ids = m.op("top_candidates", x, top=top)
    if is_clear(np.asarray(m.env[x]), top):
        m.ids.append((ids, values, x.type.shape[1]))


@maker("select_candidates")
def _select_candidates(m: Maker) -> None:
    x, top, rank = m.of(VOCAB), int(m.one(2, 4)), int(m.one(8, 16))
    scores, ids = m.op("top_candidates", x, top=top)
    if not is_clear(np.asarray(m.env[x]), top):
        return
    before, after = m.vector(VOCAB, rank), m.vector(VOCAB, rank)
    chosen = m.op("select_candidates", scores, ids, m.of(rank), before, after, m.tokens)
    m.op("gather", m.vector(VOCAB, 8), chosen)


def random_graph(seed: int, count: int = 8) -> tuple[Graph, Store, tuple[str, ...]]:
    """A graph of about `count` drawn ops."""
    m = Maker(seed)
    m.fresh(*m.shape())
    kinds = sorted(set(MAKERS) - {"pick_rows"})
    for _ in range(count):
        MAKERS[str(m.one(*kinds))](m)
    if not m.values:
        m.fresh(32)
    graph, taps = m.finish()
    return graph, m.store, taps


__all__ = ["CONTEXT", "MAKERS", "MAX_ROWS", "SLOTS", "STEPS", "HfcError", "Maker", "Store", "random_graph"]

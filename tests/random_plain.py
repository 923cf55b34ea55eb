"""Random ops that keep no state: elementwise, norms, shapes, products of matrices, experts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from random_maker import CONTEXT, SIZES, VOCAB, Maker

from hfc.formats import weight_format
from hfc.formats.recipe import tensor
from hfc.ir.graph import Value
from hfc.ir.ops import OPS

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


for _kind, _op in OPS.items():
    if _op.role == "elementwise" and _op.operands == (1, 1) and not _op.attrs and _kind != "sqrt":
        _unary(_kind)


@maker("sqrt")
def _sqrt(m: Maker) -> None:
    """Of what is positive, and away from the root's steep end."""
    m.op("sqrt", m.op("shift", m.op("relu", m.any()), by=0.25))


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
_add = MAKERS["add"]


@maker("add")
def _add_products(m: Maker) -> None:
    """A sum of anything, or of products, which may be one product."""
    if m.chance(0.7):
        return _add(m)
    n, format = int(m.one(8, 33, 64)), m.one("f32", "q8_0", "q8_0")
    total = m.of(n)
    for _ in range(m.one(1, 2, 3)):
        k = int(m.one(32, 64, 96))
        product = m.op("linear", m.of(k), m.vector(n, k, format=format))
        total = m.op("add", total, m.op("scale", product, by=float(m.one(0.25, 2.0))) if m.chance(0.3) else product)


def _norm(kind: str, has_weight: bool, **attrs) -> None:
    def make(m: Maker) -> None:
        x = m.any()
        if float(np.sqrt(np.mean(np.square(m.env[x]), axis=-1)).min()) < 0.1:
            return
        m.op(kind, x, *([m.vector(x.type.shape[-1])] if has_weight and m.chance(0.7) else []), **attrs)

    MAKERS[kind] = make


for _kind, _op in OPS.items():
    if _op.reduces and "vector" not in _op.reads[2:]:  # a norm, a softmax, a sum; layer_norm has a maker of its own
        _norm(_kind, "vector" in _op.reads, **({"eps": 1e-5} if "eps" in _op.attrs else {}))


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


@maker("all_reduce")
def _all_reduce(m: Maker) -> None:
    x = m.any(lambda s: s[-1] <= 128, 24)
    m.op("all_reduce", x, *(m.of(*x.type.shape[1:]) for _ in range(int(m.one(1, 3, 7)))))


@maker("all_gather")
def _all_gather(m: Maker) -> None:
    x = m.any(lambda s: s[-1] <= 128, 24)
    m.op("all_gather", x, *(m.of(*x.type.shape[1:]) for _ in range(int(m.one(1, 3)))))


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
    bias = [m.vector(experts)] if m.chance(0.4) else []
    groups = int(m.one(1, 1, 2, 4))
    if experts % groups or experts // groups < 2:
        groups = 1
    least = -(-top * groups // experts)  # groups that have enough experts
    attrs = dict(
        top=top,
        normalize=m.chance(0.5),
        score=m.one("softmax", "sigmoid", "sqrtsoftplus", "sparsemixer"),
        groups=groups,
        top_groups=int(m.rng.integers(least, groups + 1)),
        group_best=int(m.one(1, 2)) if groups > 1 else 1,
        scale=m.one(1.0, 2.5),
    )
    if attrs["score"] == "sparsemixer":
        bias, attrs = [], attrs | dict(normalize=False, groups=1, top_groups=1, group_best=1, jitter=m.one(0.01, 0.3))
    shares, ids = m.op("route", logits, *bias, **attrs)
    if _is_stable(np.asarray(m.env[logits]), [np.asarray(m.env[b]) for b in bias], attrs):
        m.ids.append((ids, shares, experts))


def _is_stable(logits: np.ndarray, bias: list[np.ndarray], attrs: dict) -> bool:
    """Neither the choice hangs on rounding, nor what a share is a part of."""
    rng, route = np.random.default_rng(0), OPS["route"].meaning
    shares, ids = route(logits, *bias, **attrs)
    off = 5e-3 * np.abs(logits).max()
    moved = (logits + np.float32(off) * rng.uniform(-1, 1, logits.shape).astype(np.float32) for _ in range(20))
    again = [route(x, *bias, **attrs) for x in moved]
    return all(np.array_equal(i, ids) and np.allclose(s, shares, atol=0.1 * attrs["scale"]) for s, i in again)


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


@maker("numbers")
def _numbers(m: Maker) -> None:
    count, k = int(m.one(1, 3, 4)), int(m.one(16, 32))
    ids = m.op("numbers", m.tokens, count=count)
    m.op("expert_linear", m.of(count, k), m.matrix(int(m.one(8, 33)), k, count), ids)


@maker("take")
def _take(m: Maker) -> None:
    """Of what is in memory, or of a softmax; shares of a choice as a hash of the token makes it."""
    if chosen := _chosen(m):
        ids, _shares, experts = chosen
        x = m.of(experts)
        taken = m.op("take", m.op(m.one("softmax", "sigmoid"), x) if m.chance(0.5) else x, ids)
        if m.chance(0.5):
            m.op("sum", taken)


@maker("whole")
def _whole(m: Maker) -> None:
    """Experts by the token: a table of their numbers."""
    experts, top, k = int(m.one(4, 5, 8)), int(m.one(1, 2, 3)), int(m.one(32, 64))
    name = f"table{len(m.store.tensors)}"
    table = m.rng.integers(0, experts, (VOCAB, top)).astype(np.float32)
    m.store.tensors[name] = "f32", table.shape, weight_format("f32").pack(table)
    rows = m.builder.weight(name, "f32", table.shape, tensor(name))
    m.env[rows] = table
    ids = m.op("whole", m.op("gather", rows, m.tokens))
    m.op("expert_linear", m.of(k), m.matrix(int(m.one(8, 33)), k, experts), ids)


@maker("positions")
def _positions(m: Maker) -> None:
    """A table of learned positions, with a row for each place of the context."""
    m.op("gather", m.matrix(CONTEXT, int(m.one(8, 33, 64))), m.op("positions", m.tokens))


@maker("weighted_sum")
def _weighted_sum(m: Maker) -> None:
    top = int(m.one(1, 2, 3))
    m.op("weighted_sum", m.of(top, int(m.one(1, 8, 33))), m.of(top))


@maker("sinkhorn")
def _sinkhorn(m: Maker) -> None:
    """Mixes streams, too."""
    n = int(m.one(1, 2, 3, 4, 5, 12))
    x = m.of(n, n)
    if np.abs(m.env[x]).max() > 8:
        return
    mixing = m.op("sinkhorn", x, rounds=int(m.one(1, 3, 20)), eps=m.one(1e-6, 1e-3))
    if m.chance(0.5):
        parts = m.op("split", mixing, sizes=(1,) * n) if n > 1 else (mixing,)
        m.op("mul", m.one(*parts), m.of(1, int(m.one(8, 33))))

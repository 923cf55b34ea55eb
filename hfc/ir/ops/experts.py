"""Mixtures of experts: the choice of experts, products with the chosen ones' matrices, the sum of what they make."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.element import Elements
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index
from hfc.ir.opdef import none_counted, require, root, row_local

SCORES = ("softmax", "sigmoid", "sqrtsoftplus", "sparsemixer")


def _route_type(
    logits: TensorType,
    bias: TensorType | None = None,
    *,
    top,
    normalize=True,
    score="softmax",
    groups=1,
    top_groups=1,
    group_best=1,
    scale=1.0,
    eps=0.0,
    jitter=0.0,
) -> tuple[TensorType, TensorType]:
    require(len(logits.shape) == 2, f"route: logits is {logits}; it must be [T, experts]")
    experts = logits.size(1)
    require(score in SCORES, f"route: score is {score!r}; it must be one of {', '.join(SCORES)}")
    require(
        score == "sparsemixer" or not jitter,
        f"route: jitter is {jitter} and score {score!r}; sparsemixer alone has one",
    )
    require(
        score != "sparsemixer" or (bias is None and groups == 1 and not normalize),
        "route: sparsemixer has neither a bias nor groups, and its shares are not normalized",
    )
    require(
        bias is None or bias.shape == (experts,), f"route: logits is {logits}, bias is {bias}; bias must be [{experts}]"
    )
    require(0 < top <= experts, f"route: top is {top}, logits is {logits}; 1 to {experts} experts can be chosen")
    require(
        groups > 0 and experts % groups == 0 and 0 < top_groups <= groups,
        f"route: groups is {groups}, top_groups is {top_groups}, logits is {logits}; {experts} experts must be a multiple of the "
        "groups, and no more groups can be chosen than there are",
    )
    size = experts // groups
    require(
        0 < group_best <= size,
        f"route: group_best is {group_best}, {experts} experts in {groups} groups are {size} each",
    )
    require(
        top <= top_groups * size,
        f"route: top is {top}, but {top_groups} of {groups} groups have only {top_groups * size} experts",
    )
    return TensorType("f32", (logits.shape[0], top)), TensorType("i32", (logits.shape[0], top))


@root(_route_type, stem="route", reads=("rows", "vector"), flops=none_counted)
def route(
    logits,
    bias=None,
    *,
    top,
    normalize=True,
    score="softmax",
    groups=1,
    top_groups=1,
    group_best=1,
    scale=1.0,
    eps=0.0,
    jitter=0.0,
):
    """The `top` experts of each row and their shares: scores over all experts, the largest chosen (the lower id on ties).

    score: softmax, or of each its sigmoid or the root of its softplus (DeepSeek V4).  bias: added to the scores for the choice alone.  groups of neighbouring experts: only the
    `top_groups` best are chosen from; a group is worth the sum of its `group_best` largest.  normalize: shares / (their sum + eps);
    in any case times scale.  Without a bias the choice goes by the logits themselves, whose order is that of the scores.
    score sparsemixer (Liu et al. 2024, Phi 3.5 MoE): a choice's share is its softmax over what is left after the choices before it, and of
    that over the logits which fall short of the largest by at most 2 jitter of the larger of it and their own size."""
    if score == "sparsemixer":
        return _sparsemixer(logits, top, np.float32(2 * jitter), np.float32(scale))
    scores = _SCORES[score](logits)
    rank = logits if ranks_by_logits(bias is not None, groups, group_best) else scores
    if bias is not None:
        rank = rank + bias
    if groups > 1:
        rank = np.where(_in_best_groups(rank, groups, top_groups, group_best), rank, np.float32(-np.inf))
    ids = np.argsort(-rank, axis=-1, kind="stable")[:, :top].astype(np.int32)
    shares = np.take_along_axis(scores, ids, axis=-1)
    if normalize:
        shares = shares / (shares.sum(axis=-1, keepdims=True) + np.float32(eps))
    return shares * np.float32(scale), ids


def _sparsemixer(logits, top, slack, scale):
    left, ids, shares = logits.copy(), [], []
    for _ in range(top):
        ids.append(left.argmax(axis=-1))
        high = left.max(axis=-1, keepdims=True)
        near = high - left <= slack * np.maximum(np.abs(logits), high)
        shares.append(1 / np.where(near, np.exp(left - high), 0).sum(axis=-1))
        np.put_along_axis(left, ids[-1][:, None], np.float32(-np.inf), axis=-1)
    return scale * np.stack(shares, axis=-1).astype(np.float32), np.stack(ids, axis=-1).astype(np.int32)


def ranks_by_logits(biased: bool, groups: int, group_best: int) -> bool:
    """Scores grow with logits: nothing but a sum makes the choice depend on the scores."""
    return not biased and (groups == 1 or group_best == 1)


def _softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


_SCORES = {
    "softmax": _softmax,
    "sigmoid": lambda logits: 1 / (1 + np.exp(-logits)),
    "sqrtsoftplus": lambda logits: np.sqrt(np.logaddexp(np.float32(0), logits)),
}


def _in_best_groups(rank, groups, top_groups, group_best):
    """bool of rank's shape"""
    grouped = rank.reshape(len(rank), groups, -1)
    worth = -np.sort(-grouped, axis=-1)[:, :, :group_best].sum(axis=-1)
    best = np.argsort(-worth, axis=-1, kind="stable")[:, :top_groups]
    kept = np.zeros(worth.shape, bool)
    np.put_along_axis(kept, best, True, axis=-1)
    return np.broadcast_to(kept[:, :, None], grouped.shape).reshape(rank.shape)


def _expert_type(x: TensorType, w: TensorType, experts: TensorType) -> TensorType:
    require(
        len(w.shape) == 3 and x.shape[-1] == w.shape[2],
        f"expert_linear: x is {x}, w is {w}; w must be [E, N, {x.shape[-1]}]",
    )
    require(
        len(x.shape) == 2 or x.shape[:2] == experts.shape,
        f"expert_linear: x is {x}, experts is {experts}; x must be [T, K] or [T, top, K]",
    )
    return TensorType("f32", (*experts.shape, w.shape[1]))


@root(
    _expert_type,
    stem="linear",
    reads=("rows", "experts", "ids"),
    flops=lambda op: {"row": 2 * math.prod(op.output.type.sizes(1)) * op.inputs[1].type.size(2)},
)
def expert_linear(x, w, experts):
    """Each token through its chosen experts: [T, K] or [T, top, K], w [E, N, K], i32 [T, top] -> [T, top, N]"""
    rows = x[:, None] if x.ndim == 2 else x
    out = np.empty((*experts.shape, w.shape[1]), np.float32)
    for expert in np.unique(experts):
        token, slot = np.nonzero(experts == expert)
        picked = np.broadcast_to(rows, (*experts.shape, rows.shape[-1]))[token, slot]
        out[token, slot] = picked @ np.asarray(w[expert]).T
    return out


def _numbers_type(tokens: TensorType, *, count) -> TensorType:
    require(count > 0, f"numbers: count is {count}; it must be above 0")
    return TensorType("i32", (tokens.shape[0], count))


def _numbers_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return index[0]


@row_local(_numbers_type, reads=("ids",), element=_numbers_element)
def numbers(tokens, *, count):
    """0 … count - 1 in every row: i32 [T, count]. With them, expert_linear multiplies each head with its own matrix."""
    return np.broadcast_to(np.arange(count, dtype=np.int32), (len(tokens), count))


def _weighted_sum_type(x: TensorType, weights: TensorType) -> TensorType:
    require(x.shape[:2] == weights.shape, f"weighted_sum: x is {x}, weights is {weights}; they must agree in [T, top]")
    return x.with_shape(x.shape[0], *x.shape[2:])


def _weighted_sum_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, weights = op.inputs
    terms = [
        f"{elements.element(weights, (str(k),), row)} * {elements.element(x, (str(k), *index), row)}"
        for k in range(weights.type.size(1))
    ]
    return f"({' + '.join(terms)})"


@row_local(_weighted_sum_type, reads=("rows", "rows"), element=_weighted_sum_element, beside=True)
def weighted_sum(x, weights):
    """Σ over top of weights · x, in order: [T, top, N] and [T, top] -> [T, N]"""
    total = np.zeros((x.shape[0], x.shape[2]), np.float32)
    for slot in range(x.shape[1]):
        total += weights[:, slot, None] * x[:, slot]
    return total


def _take_type(x: TensorType, ids: TensorType) -> TensorType:
    require(
        len(x.shape) == 2 and len(ids.shape) == 2, f"take: x is {x}, ids is {ids}; they must be [T, N] and [T, top]"
    )
    return TensorType("f32", ids.shape)


def _take_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, ids = op.inputs
    return elements.element(x, (elements.element(ids, index, row),), row)


@row_local(_take_type, reads=("rows", "ids"), element=_take_element)
def take(x, ids):
    """Elements of each row, by their numbers: [T, N] and i32 [T, top] -> [T, top]"""
    return np.take_along_axis(x, ids, axis=-1).astype(np.float32)


def _whole_type(x: TensorType) -> TensorType:
    return TensorType("i32", x.shape)


def _whole_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return f"(int)__builtin_rintf({elements.element(op.inputs[0], index, row)})"


@row_local(_whole_type, reads=("rows",), element=_whole_element)
def whole(x):
    """The nearest whole number of each, i32: what a table says of experts, read by gather, becomes their numbers."""
    return np.rint(x).astype(np.int32)

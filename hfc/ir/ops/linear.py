"""Matrix products with weights, and table look-up. A weight's dtype is its storage format; its meaning is f32."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.element import Elements, row_shape
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index
from hfc.ir.opdef import none_counted, require, root, row_local


def _linear_type(x: TensorType, w: TensorType) -> TensorType:
    require(len(w.shape) == 2, f"linear: w is {w}; it must be [outputs, inputs]")
    require(len(x.shape) == 2, f"linear: x is {x}; it must be [T, {w.shape[1]}]: flatten(x), or reshape it")
    require(
        x.shape[-1] == w.shape[1],
        f"linear: x is {x}, w is {w}; x.shape[-1] must equal w.shape[1] ({x.shape[-1]} != {w.shape[1]})",
    )
    return TensorType("f32", (*x.shape[:-1], w.shape[0]))


@root(
    _linear_type,
    stem="linear",
    reads=("rows", "matrix"),
    flops=lambda op: {"row": 2 * math.prod(op.inputs[1].type.sizes())},
)
def linear(x, w):
    """x wᵀ: [..., K] and [N, K] -> [..., N]"""
    return x @ w.T


def _gather_type(table: TensorType, tokens: TensorType) -> TensorType:
    require(
        len(table.shape) == 2 and tokens.dtype == "i32",
        f"gather: needs a [V, H] table and i32 ids, got {table}, {tokens}",
    )
    return TensorType("f32", (*tokens.shape, table.shape[1]))


def _gather_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    table, tokens = op.inputs
    axes = len(row_shape(tokens))
    return elements.load(table, (elements.element(tokens, index[:axes], row), *index[axes:]), row)


@row_local(_gather_type, reads=("lines", "ids"), element=_gather_element)
def gather(table, tokens):
    """Row tokens[t] of the table: [V, H] and i32 [T] -> [T, H]"""
    return table[tokens].astype(np.float32)


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


@row_local(_weighted_sum_type, reads=("rows", "rows"), element=_weighted_sum_element)
def weighted_sum(x, weights):
    """Σ over top of weights · x, in order: [T, top, N] and [T, top] -> [T, N]"""
    total = np.zeros((x.shape[0], x.shape[2]), np.float32)
    for slot in range(x.shape[1]):
        total += weights[:, slot, None] * x[:, slot]
    return total


def _route_type(logits: TensorType, *, top, normalize) -> tuple[TensorType, TensorType]:
    require(top <= logits.shape[-1], f"route: top is {top}, logits is {logits}")
    return logits.with_shape(logits.shape[0], top), TensorType("i32", (logits.shape[0], top))


@root(_route_type, stem="route", reads=("rows",), flops=none_counted)
def route(logits, *, top, normalize=True):
    """Softmax over all experts, the `top` largest (the lower id first on ties), renormalised to sum 1."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = e / e.sum(axis=-1, keepdims=True)
    ids = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top].astype(np.int32)
    weights = np.take_along_axis(probabilities, ids, axis=-1)
    return (weights / weights.sum(axis=-1, keepdims=True) if normalize else weights), ids

"""Matrix products with weights, and table look-up. A weight's dtype is its storage format; its meaning is f32."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.element import Elements, row_shape
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index
from hfc.ir.opdef import require, root, row_local


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


@row_local(_gather_type, reads=("gathered", "ids"), element=_gather_element, beside=True)
def gather(table, tokens):
    """Row tokens[t] of the table: [V, H] and i32 [T] -> [T, H]"""
    return table[tokens].astype(np.float32)

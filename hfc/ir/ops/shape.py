"""Ops that only rename elements: reshape, split, and the choice of rows."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.element import Elements, row_shape
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index, group, reindex
from hfc.ir.opdef import require, row_local, view


def _reshape_type(x: TensorType, *, shape) -> TensorType:
    require(
        math.prod(x.shape[1:]) == math.prod(shape),
        f"reshape: {x} has {math.prod(x.shape[1:])} elements a row, [{', '.join(map(str, shape))}] has {math.prod(shape)}",
    )
    return x.with_shape(x.shape[0], *shape)


def _reshape_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x = op.inputs[0]
    if elements.is_computed(x):
        return elements.element(x, reindex(index, row_shape(value), row_shape(x)), row)
    return elements.load(x, index, row, row_shape(value))  # memory is flat: no index arithmetic


@view(_reshape_type, element=_reshape_element, in_order=True)
def reshape(x, *, shape):
    """The elements of each row in a new per-row shape: [T, ...] -> [T, *shape]."""
    return x.reshape(x.shape[0], *shape)


def _split_type(x: TensorType, *, sizes) -> tuple[TensorType, ...]:
    require(sum(sizes) == x.shape[-1], f"split: sizes {list(sizes)} add up to {sum(sizes)}, {x} has {x.shape[-1]}")
    return tuple(x.with_shape(*x.shape[:-1], size) for size in sizes)


def _split_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    start = sum(op.attrs["sizes"][: op.outputs.index(value)])
    last = f"{index[-1]} + {start}" if start else index[-1]
    return elements.element(op.inputs[0], (*index[:-1], last), row)


@view(_split_type, element=_split_element)
def split(x, *, sizes):
    """Consecutive pieces of the last axis."""
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=-1))


def _pick_type(x: TensorType) -> TensorType:
    require(x.shape[0] == "T", f"pick_rows: {x} must have T rows")
    return x.with_shape("R", *x.shape[1:])


def _pick_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return elements.element(op.inputs[0], index, elements.step_word("output_row", row))


@view(_pick_type, element=_pick_element)
def pick_rows(x, *, step):
    """The rows whose logits the step wants: [T, ...] -> [R, ...]."""
    return x[step.output_rows]


def _concat_type(x: TensorType, y: TensorType) -> TensorType:
    require(x.shape[:-1] == y.shape[:-1], f"concat: {x} and {y} must agree in all axes but the last")
    return TensorType("f32", (*x.shape[:-1], x.size(-1) + y.size(-1)))


def _concat_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, y = op.inputs
    *lead, j = index
    size = x.type.size(-1)
    other = elements.element(y, (*lead, f"({group(j)} - {size})"), row)
    return f"({group(j)} < {size} ? {elements.element(x, index, row)} : {other})"


@row_local(_concat_type, reads=("rows", "rows"), element=_concat_element, selects=True)
def concat(x, y):
    """x, then y along the last axis: [T, ..., A] and [T, ..., B] -> [T, ..., A + B]"""
    return np.concatenate([x, y], axis=-1)

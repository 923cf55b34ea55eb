"""Ops that only rename elements: reshape, split, and the choice of rows."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.graph import TensorType
from hfc.ir.opdef import op, require


def _reshape_type(x: TensorType, *, shape) -> TensorType:
    require(
        math.prod(x.shape[1:]) == math.prod(shape),
        f"reshape: {x} has {math.prod(x.shape[1:])} elements a row, [{', '.join(map(str, shape))}] has {math.prod(shape)}",
    )
    return x.with_shape(x.shape[0], *shape)


@op(_reshape_type)
def reshape(x, *, shape):
    """The elements of each row in a new per-row shape: [T, ...] -> [T, *shape]."""
    return x.reshape(x.shape[0], *shape)


def _split_type(x: TensorType, *, sizes) -> tuple[TensorType, ...]:
    require(sum(sizes) == x.shape[-1], f"split: sizes {list(sizes)} add up to {sum(sizes)}, {x} has {x.shape[-1]}")
    return tuple(x.with_shape(*x.shape[:-1], size) for size in sizes)


@op(_split_type)
def split(x, *, sizes):
    """Consecutive pieces of the last axis."""
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=-1))


def _pick_type(x: TensorType) -> TensorType:
    require(x.shape[0] == "T", f"pick_rows: {x} must have T rows")
    return x.with_shape("R", *x.shape[1:])


@op(_pick_type)
def pick_rows(x, *, step):
    """The rows whose logits the step wants: [T, ...] -> [R, ...]."""
    return x[step.output_rows]

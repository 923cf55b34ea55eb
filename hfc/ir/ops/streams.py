"""Mixing of residual streams."""

from __future__ import annotations

import numpy as np

from hfc.ir.graph import TensorType
from hfc.ir.opdef import none_counted, require, root

MAX_STREAMS = 16


def _sinkhorn_type(x: TensorType, *, rounds, eps) -> TensorType:
    square = len(x.shape) == 3 and x.shape[1] == x.shape[2]
    require(square, f"sinkhorn: x is {x}; it must be [T, n, n], a square matrix in every row")
    require(x.size(1) <= MAX_STREAMS, f"sinkhorn: x is {x}; kernels hold matrices of at most {MAX_STREAMS} rows")
    require(type(rounds) is int and rounds > 0, f"sinkhorn: rounds is {rounds}; it must be a whole number above 0")
    return TensorType("f32", x.shape)


@root(_sinkhorn_type, stem="sinkhorn", reads=("rows",), flops=none_counted)
def sinkhorn(x, *, rounds, eps):
    """A matrix whose rows and columns add up to about 1 (Sinkhorn & Knopp 1967), as hyper-connections mix streams with (Xie et al. 2026):

    softmax of each row, + eps; each column over its sum + eps; then rounds - 1 times each row, and each column, over its sum + eps."""
    eps = np.float32(eps)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True) + eps
    y = y / (y.sum(axis=-2, keepdims=True) + eps)
    for _ in range(rounds - 1):
        y = y / (y.sum(axis=-1, keepdims=True) + eps)
        y = y / (y.sum(axis=-2, keepdims=True) + eps)
    return y

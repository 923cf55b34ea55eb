"""Norms over the last axis, in f32."""

from __future__ import annotations

import numpy as np

from hfc.ir.graph import TensorType
from hfc.ir.opdef import op, require


def _rms_norm_type(x: TensorType, weight: TensorType, *, eps) -> TensorType:
    require(weight.shape == x.shape[-1:], f"rms_norm: x is {x}, weight is {weight}; the weight must be [{x.shape[-1]}]")
    return TensorType("f32", x.shape)


@op(_rms_norm_type)
def rms_norm(x, weight, *, eps):
    """x / √(mean(x²) + eps) · weight  (Zhang & Sennrich 2019)"""
    return x * _rsqrt(np.mean(x * x, axis=-1, keepdims=True, dtype=np.float64) + eps) * weight


@op(lambda x, *, eps: TensorType("f32", x.shape))
def l2_norm(x, *, eps):
    """x / √(Σx² + eps)"""
    return x * _rsqrt(np.sum(x * x, axis=-1, keepdims=True, dtype=np.float64) + eps)


@op(lambda x: TensorType("f32", x.shape))
def softmax(x):
    """eˣ / Σeˣ over the last axis, shifted by the maximum"""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _rsqrt(x):
    return (1 / np.sqrt(x)).astype(np.float32)

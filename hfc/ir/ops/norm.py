"""Norms over the last axis, in f32."""

from __future__ import annotations

import numpy as np

from hfc.ir.element import Elements
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index
from hfc.ir.opdef import literal, reduction, require


def _rms_norm_type(x: TensorType, weight: TensorType, *, eps) -> TensorType:
    require(weight.shape == x.shape[-1:], f"rms_norm: x is {x}, weight is {weight}; the weight must be [{x.shape[-1]}]")
    return TensorType("f32", x.shape)


def _rms_norm_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    size, eps = literal(value.type.shape[-1]), literal(op.attrs["eps"])
    stat = elements.reduced(op, index, row, "sum", "{x} * {x}", f"hfc_rsqrt(r / {size} + {eps})")
    return (
        f"({elements.element(op.inputs[0], index, row)} * {stat} * {elements.operand(op.inputs[1], value, index, row)})"
    )


@reduction(_rms_norm_type, reads=("rows", "vector"), element=_rms_norm_element)
def rms_norm(x, weight, *, eps):
    """x / √(mean(x²) + eps) · weight  (Zhang & Sennrich 2019)"""
    return x * _rsqrt(np.mean(x * x, axis=-1, keepdims=True, dtype=np.float64) + eps) * weight


def _l2_norm_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    stat = elements.reduced(op, index, row, "sum", "{x} * {x}", f"hfc_rsqrt(r + {literal(op.attrs['eps'])})")
    return f"({elements.element(op.inputs[0], index, row)} * {stat})"


@reduction(lambda x, *, eps: TensorType("f32", x.shape), reads=("rows",), element=_l2_norm_element)
def l2_norm(x, *, eps):
    """x / √(Σx² + eps)"""
    return x * _rsqrt(np.sum(x * x, axis=-1, keepdims=True, dtype=np.float64) + eps)


def _softmax_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    top = elements.reduced(op, index, row, "max", "{x}", "r")
    total = elements.reduced(op, index, row, "sum", f"hfc_exp({{x}} - {top})", "1.0f / r")
    return f"(hfc_exp({elements.element(op.inputs[0], index, row)} - {top}) * {total})"


@reduction(lambda x: TensorType("f32", x.shape), reads=("rows",), element=_softmax_element)
def softmax(x):
    """eˣ / Σeˣ over the last axis, shifted by the maximum"""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _rsqrt(x):
    return (1 / np.sqrt(x)).astype(np.float32)

"""Norms, sums and softmax over the last axis, in f32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hfc.ir.element import Elements
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index
from hfc.ir.opdef import literal, reduction, require


def _check_vector(kind: str, x: TensorType, **vectors: TensorType | None) -> None:
    require(len(x.shape) > 1, f"{kind}: x is {x}; it must have an axis after its rows")
    for name, vector in vectors.items():
        fits = vector is None or vector.shape == x.shape[-1:]
        require(fits, f"{kind}: x is {x}, {name} is {vector}; the {name} must be [{x.shape[-1]}]")


def _rms_norm_type(x: TensorType, weight: TensorType | None = None, *, eps) -> TensorType:
    _check_vector("rms_norm", x, weight=weight)
    return TensorType("f32", x.shape)


def _rms_norm_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    size, eps = literal(value.type.shape[-1]), literal(op.attrs["eps"])
    stat = elements.reduced(op, index, row, "sum", "{x} * {x}", f"hfc_rsqrt(r / {size} + {eps})")
    weights = [f" * {elements.operand(w, value, index, row)}" for w in op.inputs[1:]]
    return f"({elements.element(op.inputs[0], index, row)} * {stat}{''.join(weights)})"


@reduction(_rms_norm_type, reads=("rows", "vector"), element=_rms_norm_element)
def rms_norm(x, weight=None, *, eps):
    """x / √(mean(x²) + eps) · weight, if there is one  (Zhang & Sennrich 2019)"""
    y = x * _rsqrt(np.mean(x * x, axis=-1, keepdims=True, dtype=np.float64) + eps)
    return y if weight is None else y * weight


def _layer_norm_type(
    x: TensorType, weight: TensorType | None = None, bias: TensorType | None = None, *, eps
) -> TensorType:
    _check_vector("layer_norm", x, weight=weight, bias=bias)
    return TensorType("f32", x.shape)


def _layer_norm_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    size, eps = literal(value.type.shape[-1]), literal(op.attrs["eps"])
    mean = elements.reduced(op, index, row, "sum", "{x}", f"r / {size}")
    off = f"({{x}} - {mean})"
    stat = elements.reduced(op, index, row, "sum", f"{off} * {off}", f"hfc_rsqrt(r / {size} + {eps})")
    y = f"({elements.element(op.inputs[0], index, row)} - {mean}) * {stat}"
    for sign, vector in zip("*+", op.inputs[1:]):
        y = f"{y} {sign} {elements.operand(vector, value, index, row)}"
    return f"({y})"


@reduction(_layer_norm_type, reads=("rows", "vector", "vector"), element=_layer_norm_element)
def layer_norm(x, weight=None, bias=None, *, eps):
    """(x - mean(x)) / √(mean((x - mean(x))²) + eps) · weight + bias, as far as they are given  (Ba et al. 2016)"""
    off = (x - np.mean(x, axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    y = off * _rsqrt(np.mean(off * off, axis=-1, keepdims=True, dtype=np.float64) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _l2_norm_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    stat = elements.reduced(op, index, row, "sum", "{x} * {x}", f"hfc_rsqrt(r + {literal(op.attrs['eps'])})")
    return f"({elements.element(op.inputs[0], index, row)} * {stat})"


def _l2_norm_type(x: TensorType, *, eps) -> TensorType:
    _check_vector("l2_norm", x)
    return TensorType("f32", x.shape)


@reduction(_l2_norm_type, reads=("rows",), element=_l2_norm_element)
def l2_norm(x, *, eps):
    """x / √(Σx² + eps)"""
    return x * _rsqrt(np.sum(x * x, axis=-1, keepdims=True, dtype=np.float64) + eps)


def _softmax_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    top = elements.reduced(op, index, row, "max", "{x}", "r")
    total = elements.reduced(op, index, row, "sum", f"hfc_exp({{x}} - {top})", "1.0f / r")
    return f"(hfc_exp({elements.element(op.inputs[0], index, row)} - {top}) * {total})"


def _softmax_type(x: TensorType) -> TensorType:
    _check_vector("softmax", x)
    return TensorType("f32", x.shape)


@reduction(_softmax_type, reads=("rows",), element=_softmax_element)
def softmax(x):
    """eˣ / Σeˣ over the last axis, shifted by the maximum"""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _total_type(kind: str) -> Callable[[TensorType], TensorType]:
    def rule(x: TensorType) -> TensorType:
        _check_vector(kind, x)
        return TensorType("f32", (*x.shape[:-1], 1))

    return rule


def _sum_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return elements.reduced(op, index, row, "sum", "{x}", "r")


@reduction(_total_type("sum"), reads=("rows",), element=_sum_element)
def sum_(x):
    """Σ over the last axis, which stays with size 1: [T, ..., N] -> [T, ..., 1]"""
    return np.sum(x, axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)


def _mean_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return elements.reduced(op, index, row, "sum", "{x}", f"r / {literal(op.inputs[0].type.shape[-1])}")


@reduction(_total_type("mean"), reads=("rows",), element=_mean_element)
def mean(x):
    """The mean over the last axis, which stays with size 1: [T, ..., N] -> [T, ..., 1]"""
    return np.mean(x, axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)


def _rsqrt(x):
    return (1 / np.sqrt(x)).astype(np.float32)

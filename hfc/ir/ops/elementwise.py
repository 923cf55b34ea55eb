"""Elementwise ops. Binary ones broadcast over trailing axes; results are f32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hfc.ir.graph import TensorType
from hfc.ir.opdef import elementwise, require


def broadcast(kind: str, x: TensorType, y: TensorType) -> TensorType:
    """The result type of a binary op; numpy's rule, where a symbol equals only itself."""
    ranked = [t for t in (x, y) if t.shape[:1] in (("T",), ("R",))]
    most = max(len(x.shape), len(y.shape))
    require(
        all(len(t.shape) == most for t in ranked),
        f"{kind}: {x} and {y} do not broadcast: rows stand for themselves; reshape the one with fewer axes",
    )
    wide, narrow = (x, y) if len(x.shape) >= len(y.shape) else (y, x)
    lead = len(wide.shape) - len(narrow.shape)
    shape = list(wide.shape)
    for axis, size in enumerate(narrow.shape):
        have = wide.shape[lead + axis]
        require(have == size or size == 1 or have == 1, f"{kind}: {x} and {y} do not broadcast ({have} != {size})")
        shape[lead + axis] = size if have == 1 else have
    return TensorType("f32", tuple(shape))


def same(x: TensorType, **_attrs) -> TensorType:
    return TensorType("f32", x.shape)


@elementwise(lambda x, y: broadcast("add", x, y), c="({0} + {1})")
def add(x, y):
    """x + y"""
    return x + y


@elementwise(lambda x, y: broadcast("sub", x, y), c="({0} - {1})")
def sub(x, y):
    """x - y"""
    return x - y


@elementwise(lambda x, y: broadcast("mul", x, y), c="({0} * {1})")
def mul(x, y):
    """x · y"""
    return x * y


@elementwise(lambda x, y: broadcast("div", x, y), c="({0} / {1})")
def div(x, y):
    """x / y"""
    return x / y


@elementwise(same, c="({0} + {by})", fold="add")
def shift(x, *, by):
    """x + by"""
    return x + np.float32(by)


@elementwise(same, c="({0} * {by})", fold="mul")
def scale(x, *, by):
    """x · by"""
    return x * np.float32(by)


@elementwise(same, c="(-{0})", fold="neg")
def neg(x):
    """−x"""
    return -x


@elementwise(same, c="hfc_exp({0})", fold="exp")
def exp(x):
    """eˣ"""
    return np.exp(x)


@elementwise(same, c="hfc_sqrt({0})")
def sqrt(x):
    """√x"""
    return np.sqrt(x)


@elementwise(same, c="hfc_tanh({0})")
def tanh(x):
    """tanh x"""
    return np.tanh(x)


@elementwise(same, c="hfc_relu({0})")
def relu(x):
    """max(x, 0)"""
    return np.maximum(x, np.float32(0))


@elementwise(same, c="hfc_sigmoid({0})")
def sigmoid(x):
    """1 / (1 + e⁻ˣ)"""
    return _sigmoid(x)


@elementwise(same, c="hfc_silu({0})")
def silu(x):
    """x · sigmoid(x)"""
    return x * _sigmoid(x)


@elementwise(same, c="hfc_softplus({0})")
def softplus(x):
    """log(1 + eˣ)"""
    return np.logaddexp(np.float32(0), x)


@elementwise(same, c="hfc_gelu_tanh({0})")
def gelu_tanh(x):
    """0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))  (Hendrycks & Gimpel 2016, tanh form)"""
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


@elementwise(same, c="hfc_gelu({0})")
def gelu(x):
    """x · Φ(x) = 0.5·x·erfc(−x / √2)  (Hendrycks & Gimpel 2016)"""
    return (0.5 * x * _ERFC(x * -(0.5**0.5)).astype(np.float64)).astype(np.float32)


def _clamp_type(x: TensorType, *, low=None, high=None) -> TensorType:
    require(low is not None or high is not None, "clamp: low or high, or both, must be given")
    require(low is None or high is None or low <= high, f"clamp: low is {low}, high is {high}; low must be the smaller")
    return TensorType("f32", x.shape)


def _clamp_c(attrs: dict[str, Any]) -> str:
    x = "{0}" if attrs["low"] is None else "hfc_at_least({0}, {low})"
    return x if attrs["high"] is None else f"hfc_at_most({x}, {{high}})"


@elementwise(_clamp_type, c=_clamp_c)
def clamp(x, *, low=None, high=None):
    """x, but low where it is below and high where it is above"""
    return np.clip(x, None if low is None else np.float32(low), None if high is None else np.float32(high))


_ERFC = np.frompyfunc(math.erfc, 1, 1)  # numpy has none


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)

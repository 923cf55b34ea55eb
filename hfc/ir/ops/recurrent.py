"""Causal convolution and the gated delta rule: ops with a state that a segment carries on."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.graph import TensorType
from hfc.ir.opdef import none_counted, require, root


def _conv_type(u: TensorType, w: TensorType, window: TensorType) -> tuple[TensorType, TensorType]:
    channels, taps = w.sizes()
    require(u.shape[-1] == channels, f"causal_conv: u is {u}, w is {w}; u must have {channels} channels")
    require(
        window.shape == ("S", channels, taps - 1),
        f"causal_conv: window is {window}, expected [S, {channels}, {taps - 1}]",
    )
    return u, window


@root(
    _conv_type,
    stem="conv",
    reads=("rows", "taps", "state"),
    flops=none_counted,
    state=(2, 1),
    journal=lambda window: window.size(1),  # the row's inputs
)
def causal_conv(u, w, window, *, step):
    """Depthwise causal convolution: y[t] = Σ_i w[:, i] · u[t - (taps-1) + i]; window keeps the last taps-1 inputs.

    u [T, C], w [C, taps], window [S, C, taps-1] (oldest first) -> y [T, C], new window."""
    taps = w.shape[1]
    y, new = np.empty_like(u), window.copy()
    for segment in step.segments:
        rows = slice(segment.row, segment.row + segment.rows)
        past = window[segment.slot].T if segment.position else np.zeros((taps - 1, u.shape[1]), np.float32)
        joined = np.concatenate([past, u[rows]])
        y[rows] = sum(joined[i : i + segment.rows] * w[:, i] for i in range(taps))
        new[segment.slot] = joined[segment.rows :].T
    return y, new


def _delta_type(q, k, v, g, beta, memory, *, tiled) -> tuple[TensorType, TensorType]:
    value_heads, dv = v.shape[1:]
    require(
        q.shape == k.shape and value_heads % q.shape[1] == 0,
        f"gated_delta: q is {q}, k is {k}, v is {v}; v's heads must be a multiple of q's",
    )
    require(
        g.shape == beta.shape == v.shape[:2], f"gated_delta: g is {g}, beta is {beta}; both must be [T, {value_heads}]"
    )
    expected = ("S", value_heads, q.shape[2], dv)
    require(memory.shape == expected, f"gated_delta: memory is {memory}, expected {list(expected)}")
    return v, memory


@root(
    _delta_type,
    stem="delta",
    reads=("rows", "rows", "rows", "rows", "rows", "state"),
    flops=lambda op: {"row": 7 * math.prod(op.inputs[5].type.sizes(1))},
    state=(5, 1),
    journal=lambda memory: 2 * memory.size(1),  # e^g and beta; q, k and v follow from the window's
)
def gated_delta(q, k, v, g, beta, memory, *, tiled=False, step):
    """The gated delta rule (Yang et al. 2024, Gated Delta Networks), one token after the other, per value head:

    S <- e^g S;  d = beta (v - Sᵀk);  S <- S + k dᵀ;  o = Sᵀq.
    q, k [T, kh, dk], v [T, vh, dv], g, beta [T, vh], memory [S, vh, dk, dv] -> o [T, vh, dv], new memory.
    Value head j uses key head j // (vh/kh); tiled (GGUF order): j % kh."""
    key_heads, value_heads = q.shape[1], v.shape[1]
    heads = np.arange(value_heads)
    key_of = heads % key_heads if tiled else heads // (value_heads // key_heads)
    out, new = np.empty_like(v), memory.copy()
    for segment in step.segments:
        state = memory[segment.slot] if segment.position else np.zeros(memory.shape[1:], np.float32)
        for row in range(segment.row, segment.row + segment.rows):
            state = state * np.exp(g[row])[:, None, None]
            key, query = k[row, key_of], q[row, key_of]
            delta = beta[row][:, None] * (v[row] - np.einsum("hkv,hk->hv", state, key))
            state = state + key[:, :, None] * delta[:, None, :]
            out[row] = np.einsum("hkv,hk->hv", state, query)
        new[segment.slot] = state
    return out, new

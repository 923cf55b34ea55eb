"""Causal convolution and linear recurrences: ops with a state that a segment carries on."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.graph import Op, TensorType
from hfc.ir.opdef import none_counted, require, root

MAX_KEY = 1024


def _conv_type(u: TensorType, w: TensorType, window: TensorType) -> tuple[TensorType, TensorType]:
    channels, taps = w.sizes()
    require(u.shape[1:] == (channels,), f"causal_conv: u is {u}, w is {w}; u must be [T, {channels}]")
    require(taps > 1, f"causal_conv: w is {w}; with one tap nothing is kept, and u * w says the same")
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


def _recurrence_type(q, k, v, g, beta, memory, *, delta, tiled) -> tuple[TensorType, TensorType]:
    value_heads, dv = v.sizes(1)
    key_heads, dk = q.sizes(1)
    require(
        q.shape == k.shape and value_heads % key_heads == 0,
        f"linear_recurrence: q is {q}, k is {k}, v is {v}; v's heads must be a multiple of q's and k's",
    )
    require(
        g.shape in (v.shape[:2], (*v.shape[:2], dk)),
        f"linear_recurrence: g is {g}; it must be [T, {value_heads}], or [T, {value_heads}, {dk}] to decay each key channel apart",
    )
    require(dk <= MAX_KEY, f"linear_recurrence: k is {k}; kernels hold keys of at most {MAX_KEY} elements")
    require(beta.shape == v.shape[:2], f"linear_recurrence: beta is {beta}; it must be [T, {value_heads}]")
    expected = ("S", value_heads, dk, dv)
    require(memory.shape == expected, f"linear_recurrence: memory is {memory}, expected {list(expected)}")
    return v, memory


def _recurrence_flops(op: Op) -> dict[str, int]:
    """A product and a sum with k, with q, and for the delta rule once more with k; the decay."""
    return {"row": (7 if op.attrs["delta"] else 5) * math.prod(op.inputs[5].type.sizes(1))}


@root(
    _recurrence_type,
    stem="recurrence",
    reads=("rows", "rows", "rows", "rows", "rows", "state"),
    flops=_recurrence_flops,
    state=(5, 1),
)
def linear_recurrence(q, k, v, g, beta, memory, *, delta=False, tiled=False, step):
    """A gated linear recurrence, one token after the other, per value head:

    S <- e^g S;  d = beta v;  S <- S + k dᵀ;  o = Sᵀq.
    delta: d = beta (v - Sᵀk), the gated delta rule (Yang et al. 2024); without it, with beta the step size, Mamba-2 (Dao & Gu 2024).
    q, k [T, kh, dk], v [T, vh, dv], g [T, vh] or, a decay for each key channel, [T, vh, dk], beta [T, vh],
    memory [S, vh, dk, dv] -> o [T, vh, dv], new memory.
    Value head j uses key head j // (vh/kh); tiled (GGUF order): j % kh."""
    key_heads, value_heads = q.shape[1], v.shape[1]
    heads = np.arange(value_heads)
    key_of = heads % key_heads if tiled else heads // (value_heads // key_heads)
    decay = np.exp(np.atleast_3d(g))[..., None]  # [T, vh, dk or 1, 1]; a step may have no rows
    out, new = np.empty_like(v), memory.copy()
    for segment in step.segments:
        state = memory[segment.slot] if segment.position else np.zeros(memory.shape[1:], np.float32)
        for row in range(segment.row, segment.row + segment.rows):
            state = state * decay[row]
            key, query = k[row, key_of], q[row, key_of]
            known = np.einsum("hkv,hk->hv", state, key) if delta else np.float32(0)
            state = state + key[:, :, None] * (beta[row][:, None] * (v[row] - known))[:, None, :]
            out[row] = np.einsum("hkv,hk->hv", state, query)
        new[segment.slot] = state
    return out, new

"""Rotary positions, the KV cache and attention."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.element import Elements
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index, group
from hfc.ir.opdef import none_counted, require, root, row_local


def _rope_type(x: TensorType, table: TensorType, *, interleaved=None, inverse=None, back=None) -> TensorType:
    require(
        len(x.shape) == 3 and table.size(1) <= x.size(2) and table.size(1) % 2 == 0,
        f"rope: x is {x}, table is {table}; x must be [T, heads, head] with head >= rotary, rotary even",
    )
    require(
        back is None or type(back) is int and back >= 0, f"rope: back is {back}; it must be a whole number of positions"
    )
    return x


def _rope_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, table = op.inputs
    rotary = table.type.size(1)
    half, j = rotary // 2, group(index[-1])
    position, back = elements.step_word("position", row), op.attrs["back"]
    if back:
        position = f"({position} > {back} ? {position} - {back} : 0)"
    minus, plus = ("+", "-") if op.attrs["inverse"] else ("-", "+")

    def at(offset: int) -> str:
        place = f"{j} + {offset}" if offset > 0 else f"{j} - {-offset}" if offset else j
        return elements.element(x, (*index[:-1], place), row)

    def turn(part: int, offset: int) -> str:
        return f"{elements.pointer(table)}[(size_t){position} * {rotary} + {j} + {part * half - offset}]"

    if op.attrs["interleaved"]:
        entry = f"{elements.pointer(table)}[(size_t){position} * {rotary} + {j} / 2"
        other = elements.element(x, (*index[:-1], f"({j} ^ 1)"), row)
        turned = f"{at(0)} * {entry}] + {other} * ({j} % 2 ? {plus}{entry} + {half}] : {minus}{entry} + {half}])"
        return f"({j} < {rotary} ? {turned} : {at(0)})" if rotary < value.type.size(-1) else f"({turned})"
    low = f"{at(0)} * {turn(0, 0)} {minus} {at(half)} * {turn(1, 0)}"
    high = f"{at(0)} * {turn(0, half)} {plus} {at(-half)} * {turn(1, half)}"
    rest = f" : {at(0)}" if rotary < value.type.size(-1) else ""
    guard = f"{j} < {rotary} ? {high}{rest}" if rest else high
    return f"({j} < {half} ? {low} : {guard})"


@row_local(_rope_type, reads=("rows", "table"), element=_rope_element)
def rope(x, table, *, interleaved=None, inverse=None, back=None, step):
    """Rotate the pairs (i, i + rotary/2) of each head by its position; other dims pass. table: cos | sin, [C, rotary].

    Half-split ("NeoX") pairing (Su et al. 2021; GPT-NeoX); interleaved: the pairs are (2i, 2i + 1), as GPT-J has them.
    inverse: rotate back.  back: as if each row stood so many positions before, at 0 at least."""
    half = table.shape[1] // 2
    cos, sin = np.split(table[np.maximum(step.positions - (back or 0), 0)][:, None], 2, axis=-1)
    sin = -sin if inverse else sin
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else np.split(turned, 2, axis=-1)
    parts = [a * cos - b * sin, b * cos + a * sin]
    if interleaved:
        parts = [np.stack(parts, axis=-1).reshape(turned.shape)]
    return np.concatenate([*parts, rest], axis=-1)


def _position_scale_type(x: TensorType, table: TensorType) -> TensorType:
    require(len(table.shape) == 2 and table.size(1) == 1, f"position_scale: the table is {table}; it must be [C, 1]")
    return TensorType("f32", x.shape)


def _position_scale_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    x, table = op.inputs
    factor = f"{elements.pointer(table)}[{elements.step_word('position', row)}]"
    return f"({elements.element(x, index, row)} * {factor})"


@row_local(_position_scale_type, reads=("rows", "table"), element=_position_scale_element)
def position_scale(x, table, *, step):
    """Each row times the table's entry of its position. table: [C, 1]"""
    return x * table[step.positions].reshape(-1, *[1] * (x.ndim - 1))


def _positions_type(tokens: TensorType) -> TensorType:
    return TensorType("i32", tokens.shape[:1])


def _positions_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return f"(int){elements.step_word('position', row)}"


@row_local(_positions_type, reads=("ids",), element=_positions_element)
def positions(tokens, *, step):
    """Where each row stands in its sequence, from 0: i32 [T]. With them, gather reads positions that were learned."""
    return step.positions.astype(np.int32)


def _kv_append_type(kv: TensorType, k: TensorType, v: TensorType) -> TensorType:
    expected = ("T", kv.shape[1], kv.shape[3])
    require(
        kv.dtype == "kv" and k.shape == v.shape == expected,
        f"kv_append: cache is {kv}, k is {k}, v is {v}; k and v must be [{', '.join(map(str, expected))}]",
    )
    return kv


@root(_kv_append_type, stem="map", reads=("state", "rows", "rows"), flops=none_counted, state=(0, 0))
def kv_append(kv, k, v, *, step):
    """The cache with the step's keys and values written at their positions, those that have a place. kv: KvCache; k, v: [T, kv_heads, head]"""
    return kv.append(k, v, step)


def _attend_type(
    q: TensorType,
    kv: TensorType,
    sinks: TensorType | None = None,
    slopes: TensorType | None = None,
    *,
    scale,
    window=0,
    softcap=0.0,
    causal=True,
    first=0,
) -> TensorType:
    require(
        len(q.shape) == 3 and q.shape[2] == kv.shape[3] and q.size(1) % kv.size(1) == 0,
        f"attend: q is {q}, cache is {kv}; heads must be a multiple of the cache's, head sizes equal",
    )
    require(
        sinks is None or sinks.shape == (q.size(1),),
        f"attend: q is {q}, sinks is {sinks}; sinks must be [{q.size(1)}], a logit for each head",
    )
    require(
        slopes is None or (slopes.shape == (q.size(1),) and causal),
        f"attend: q is {q}, slopes is {slopes}; slopes must be [{q.size(1)}], one for each head, and attention causal",
    )
    require(kv.every == 1, f"attend: cache is {kv}, which has no place for each position: attend_entries reads it")
    require(not (first and window), f"attend: first is {first} and window is {window}; one of them must be 0")
    return q


@root(
    _attend_type,
    stem="attend",
    reads=("rows", "cache", "vector", "vector"),
    flops=lambda op: {"context": 4 * math.prod(op.output.type.sizes(1))},
)
def attend(q, kv, sinks=None, slopes=None, *, scale, window=0, softcap=0.0, causal=True, first=0, step):
    """softmax(q kᵀ · scale) v over positions p - window < s <= p (window 0: all s <= p), grouped query heads.

    q [T, heads, head] -> [T, heads, head]; head h reads kv head h // (heads / kv_heads). softcap c > 0: c·tanh(score/c).
    causal False: a row sees all s before its segment's end, and of these, with a window, |p - s| < window.
    first: a row at p sees no s < min(first, p); not with a window.
    sinks [heads]: one more logit in each head's softmax, without a value (Xiao et al. 2024; learned: gpt-oss).
    slopes [heads]: a key loses its head's slope for each position between it and the query (ALiBi, Press et al. 2022)."""
    heads, kv_heads = q.shape[1], kv.k.shape[1]
    sink = np.full(heads, -np.inf, np.float32) if sinks is None else sinks
    sink = sink.reshape(kv_heads, heads // kv_heads, 1, 1)
    out = np.empty_like(q)
    for segment in step.segments:
        rows = slice(segment.row, segment.row + segment.rows)
        context = segment.position + segment.rows
        k, v = kv.k[segment.slot, :, :context], kv.v[segment.slot, :, :context]
        grouped = q[rows].reshape(segment.rows, kv_heads, heads // kv_heads, q.shape[2])
        scores = np.einsum("tgrd,gsd->grts", grouped, k, optimize=True) * np.float32(scale)
        if softcap:
            scores = np.float32(softcap) * np.tanh(scores / np.float32(softcap))
        distance = np.arange(segment.position, context)[:, None] - np.arange(context)
        if slopes is not None:
            scores -= slopes.reshape(kv_heads, heads // kv_heads, 1, 1) * distance.astype(np.float32)
        hidden = (distance < 0) if causal else np.zeros(distance.shape, bool)
        if window:
            hidden |= np.abs(distance) >= window
        hidden[:, :first] |= np.arange(first) < np.arange(segment.position, context)[:, None]
        scores = np.where(hidden, -np.inf, scores)
        high = np.maximum(scores.max(axis=-1, keepdims=True), sink)
        weights = np.exp(scores - high)
        weights /= weights.sum(axis=-1, keepdims=True) + np.exp(sink - high)
        out[rows] = np.einsum("grts,gsd->tgrd", weights, v, optimize=True).reshape(segment.rows, heads, q.shape[2])
    return out

"""Attention over few positions: entries made of several tokens each, and the choice of those that a row attends to."""

from __future__ import annotations

import math

import numpy as np

from hfc.ir.graph import Op, TensorType
from hfc.ir.opdef import none_counted, require, root
from hfc.step import JOURNAL_ROWS

MAX_QUERIES = 8192  # elements of the queries that a kernel of `choose` holds


def _pool_type(
    values: TensorType, gates: TensorType, bias: TensorType, kept: TensorType, *, runs=1
) -> tuple[TensorType, TensorType]:
    require(
        len(values.shape) == 2 and values.shape == gates.shape,
        f"pool: values is {values}, gates is {gates}; both must be [T, channels]",
    )
    width = values.size(1)
    require(
        type(runs) is int and runs > 0 and width % runs == 0,
        f"pool: runs is {runs}, values is {values}; the channels must be a multiple of the runs",
    )
    require(len(bias.shape) == 2 and bias.size(1) == width, f"pool: bias is {bias}; it must be [tokens, {width}]")
    rows = runs * bias.size(0) + JOURNAL_ROWS
    require(
        len(kept.shape) == 3 and kept.size(1) >= rows and kept.size(2) == 2 * width,
        f"pool: kept is {kept}; it must be [S, {rows}, {2 * width}]: the tokens of {runs} runs, and {JOURNAL_ROWS} that may be taken back",
    )
    return TensorType("f32", (values.shape[0], width // runs)), kept


@root(_pool_type, stem="pool", reads=("rows", "rows", "taps", "state"), flops=none_counted, state=(3, 1))
def pool(values, gates, bias, kept, *, runs=1, step):
    """One entry of each run of tokens (DeepSeek V4's compressed attention): in a run's last row a mean of the run's values and of those of
    the runs - 1 before, each channel by the softmax of gates + bias over these tokens; 0 in other rows.

    bias [m, runs·D]: m tokens are a run, the first begins at position 0.  values, gates [T, runs·D]: D channels for each entry that a token is
    part of, those for its own run's entry last.  kept [S, rows, 2·runs·D]: values and gates of the last tokens, position p in row p % rows."""
    every, width = bias.shape
    size, y, new = width // runs, np.zeros((len(values), width // runs), np.float32), kept.copy()
    for segment in step.segments:
        ring = new[segment.slot]
        for row, position in enumerate(range(segment.position, segment.position + segment.rows), segment.row):
            ring[position % len(ring), :width] = values[row]
            ring[position % len(ring), width:] = gates[row] + bias[position % every]
            if (position + 1) % every:
                continue
            parts = []
            for run in range(runs):
                end = position + 1 - (runs - 1 - run) * every
                if end > 0:
                    found = ring[np.arange(end - every, end) % len(ring)]
                    parts.append(found.reshape(every, 2, runs, size)[:, :, run])
            v, g = np.concatenate(parts).transpose(1, 0, 2)
            e = np.exp(g - g.max(axis=0))
            y[row] = (v * (e / e.sum(axis=0))).sum(axis=0)
    return y, new


def _choose_type(q: TensorType, weights: TensorType, kv: TensorType, *, top) -> TensorType:
    require(
        len(q.shape) == 3 and kv.shape[1] == 1 and q.shape[2] == kv.shape[3],
        f"choose: q is {q}, cache is {kv}; the cache must have one head, of the size of q's",
    )
    require(
        q.size(1) * q.size(2) <= MAX_QUERIES, f"choose: q is {q}; kernels hold at most {MAX_QUERIES} elements a row"
    )
    require(weights.shape == q.shape[:2], f"choose: q is {q}, weights is {weights}; weights must be [T, {q.size(1)}]")
    require(type(top) is int and top > 0, f"choose: top is {top}; it must be a whole number above 0")
    return TensorType("i32", (q.shape[0], top))


def visible(step, every: int) -> np.ndarray:
    """How many entries each row sees, of one for each `every` positions."""
    return (step.positions + 1) // every


@root(
    _choose_type,
    stem="choose",
    reads=("rows", "rows", "cache"),
    flops=lambda op: {"context": 2 * math.prod(op.inputs[0].type.sizes(1)) // op.inputs[2].type.every},
)
def choose(q, weights, kv, *, top, step):
    """Positions of the `top` keys with the largest scores Σ_h weights[h] · max(q_h · k, 0), rising, then -1 where a row sees fewer
    (the lightning indexer of DeepSeek V3.2 and V4); on ties the lower position.

    q [T, heads, head], weights [T, heads] -> i32 [T, top]. A row at p sees positions s <= p that have a place in the cache."""
    ids, counts = np.full((len(q), top), -1, np.int32), visible(step, kv.every)
    slots = np.concatenate([np.full(s.rows, s.slot) for s in step.segments])
    for row, (slot, count) in enumerate(zip(slots, counts)):
        scores = weights[row] @ np.maximum(q[row] @ kv.k[slot, 0, :count].T, np.float32(0))
        chosen = np.sort(np.argsort(-scores, kind="stable")[:top])
        ids[row, : len(chosen)] = (chosen + 1) * kv.every - 1
    return ids


def _attend_type(
    q: TensorType,
    kv: TensorType,
    entries: TensorType,
    sinks: TensorType | None = None,
    chosen: TensorType | None = None,
    *,
    scale,
    window=0,
) -> TensorType:
    alike = (kv.shape[1], kv.shape[3]) == (entries.shape[1], entries.shape[3])
    require(
        len(q.shape) == 3 and alike and q.shape[2] == kv.shape[3] and q.size(1) % kv.size(1) == 0,
        f"attend_entries: q is {q}, caches are {kv} and {entries}; these must be alike, with heads of q's size, of which q has a multiple",
    )
    require(
        sinks is None or sinks.shape == (q.size(1),),
        f"attend_entries: q is {q}, sinks is {sinks}; sinks must be [{q.size(1)}], a logit for each head",
    )
    require(
        chosen is None or len(chosen.shape) == 2,
        f"attend_entries: chosen is {chosen}; it must be [T, top], from choose",
    )
    require(kv.every == 1 or not window, f"attend_entries: kv is {kv}; a window needs a place for each position")
    require(
        window > 0 or entries.every == 1,
        "attend_entries: window is 0, so that rows before the first entry would see nothing",
    )
    return q


def _attend_flops(op: Op) -> dict[str, int]:
    each = 4 * math.prod(op.output.type.sizes(1))
    if len(op.inputs) > 4:
        return {"row": each * (op.attrs["window"] + op.inputs[4].type.size(1))}
    return {"row": each * op.attrs["window"], "context": each // op.inputs[2].type.every}


@root(
    _attend_type,
    stem="entries",
    reads=("rows", "cache", "cache", "vector", "ids"),
    flops=_attend_flops,
)
def attend_entries(q, kv, entries, sinks=None, chosen=None, *, scale, window=0, step):
    """softmax(q kᵀ · scale) v over the last `window` positions of kv (0: none) and over entries together: those of positions s <= p that have
    a place in `entries`, or of these the chosen ones.  sinks: as in attend.  chosen: i32 [T, top], different ones, then -1 where there are
    fewer."""
    heads, kv_heads = q.shape[1], kv.k.shape[1]
    sink = np.full(heads, -np.inf, np.float32) if sinks is None else sinks.reshape(heads)
    out, every = np.empty_like(q), entries.every
    counts = visible(step, every)
    slots = np.concatenate([np.full(s.rows, s.slot) for s in step.segments])
    for row, (slot, position) in enumerate(zip(slots, step.positions)):
        seen = np.arange(counts[row]) if chosen is None else chosen[row][chosen[row] >= 0] // every
        near = np.arange(max(0, position - window + 1), position + 1) if window else np.arange(0)
        k, v = (
            np.concatenate([c[slot][:, near], e[slot][:, seen]], axis=1)
            for c, e in ((kv.k, entries.k), (kv.v, entries.v))
        )
        grouped = q[row].reshape(kv_heads, heads // kv_heads, q.shape[2])
        scores = (grouped @ k.transpose(0, 2, 1)).reshape(heads, -1) * np.float32(scale)
        high = np.maximum(scores.max(axis=-1), sink)[:, None]
        weights = np.exp(scores - high)
        weights /= weights.sum(axis=-1, keepdims=True) + np.exp(sink[:, None] - high)
        out[row] = (weights.reshape(kv_heads, heads // kv_heads, -1) @ v).reshape(heads, -1)
    return out

"""Random ops that read or carry on a state, and those of drafts."""

from __future__ import annotations

import numpy as np
from random_maker import STEPS, VOCAB, Maker, is_clear
from random_plain import MAKERS, maker

from hfc.ir.graph import TensorType, Value
from hfc.ir.ops import OPS


@maker("rope")
def _rope(m: Maker) -> None:
    x = m.any(lambda s: len(s) == 2 and s[1] >= 2, 3, 16)
    rotary = min(x.type.shape[2] // 2 * 2, int(m.one(2, 4, 8, 128)))
    drawn = {"interleaved": True, "inverse": True, "back": int(m.one(1, 3))}
    m.op("rope", x, m.table(rotary), **{name: value for name, value in drawn.items() if m.chance(0.5)})


@maker("position_scale")
def _position_scale(m: Maker) -> None:
    m.op("position_scale", m.any(), m.scale_table())


@maker("attend")
def _attend(m: Maker) -> None:
    kv_heads, group, head = int(m.one(1, 2, 3)), int(m.one(1, 2, 3)), int(m.one(8, 16, 32, 64))
    q, k, v = m.of(kv_heads * group, head), m.of(kv_heads, head), m.of(kv_heads, head)
    if m.chance(0.5):
        table = m.table(int(m.one(4, head)))
        q, k = m.op("rope", q, table), m.op("rope", k, table)
    if not all(map(m.is_tame, (q, k, v))):
        return
    kv = m.op("kv_append", m.state(TensorType("kv", ("S", kv_heads, "C", head))), k, v)
    for _ in range(m.one(1, 1, 1, 2)):
        window = int(m.one(0, 0, 3))
        sinks = [_vector(m, kv_heads * group)] if m.chance(0.3) else []
        causal = m.chance(0.85)
        sinks += [_vector(m, kv_heads * group)] if sinks and causal and m.chance(0.5) else []  # slopes, rising ones too
        m.op(
            "attend", q, kv, *sinks, scale=head**-0.5, window=window, softcap=m.one(0.0, 0.0, 5.0),
            causal=causal, first=0 if window else int(m.one(0, 0, 2)),
        )  # fmt: skip
        q = m.of(kv_heads * group, head)


def _vector(m: Maker, size: int) -> Value:
    """A weight, or what is computed of weights alone."""
    return m.op("mul", m.vector(size), m.vector(size)) if m.chance(0.3) else m.vector(size)


MAKERS["kv_append"] = _attend


@maker("causal_conv")
def _causal_conv(m: Maker) -> None:
    """Alone, with a bias, between gates (a gated short convolution), in front of an activation."""
    channels, taps = int(m.one(3, 16, 33, 64)), int(m.one(2, 3, 4))
    u, window = m.of(channels), m.state(TensorType("f32", ("S", channels, taps - 1)))
    if m.chance(0.3):
        u = m.op("mul", u, m.of(channels))
    if not m.is_tame(u):
        return
    y, _window = m.op("causal_conv", u, m.vector(channels, taps), window)
    if m.chance(0.4):
        y = m.op("add", y, m.vector(channels))
    if m.chance(0.7):
        y = m.op(m.one("silu", "tanh"), y)
    if m.chance(0.3):
        m.op("mul", y, m.of(channels))


def _convolved(m: Maker, k_heads: int, v_heads: int, dk: int, dv: int) -> tuple[Value, Value, Value]:
    """q, k and v as the kernels of DeltaNet layers begin: pieces of one convolution."""
    sizes = (k_heads * dk, k_heads * dk, v_heads * dv)
    u, window = m.of(sum(sizes)), m.state(TensorType("f32", ("S", sum(sizes), 3)))
    y, _window = m.op("causal_conv", u, m.vector(sum(sizes), 4), window)
    q, k, v = m.op("split", m.op("silu", y), sizes=sizes)
    q, k = (m.op("l2_norm", m.op("reshape", x, shape=(k_heads, dk)), eps=1e-6) for x in (q, k))
    return m.op("scale", q, by=dk**-0.5), k, m.op("reshape", v, shape=(v_heads, dv))


def _from_anywhere(m: Maker, k_heads: int, v_heads: int, dk: int, dv: int, delta: bool) -> tuple[Value, Value, Value]:
    q, k, v = m.of(k_heads, dk), m.of(k_heads, dk), m.of(v_heads, dv)
    if delta:  # longer keys would blow the state up
        k = m.op("l2_norm", k, eps=1e-6)
    if m.chance(0.4):
        q = m.op(m.one("l2_norm", "rms_norm"), q, eps=1e-6)
    return q, k, m.op("silu", v) if m.chance(0.3) else v


@maker("linear_recurrence")
def _linear_recurrence(m: Maker) -> None:
    """Mamba-2's, the gated delta rule's, with a decay for each key channel; heads of odd sizes."""
    k_heads, per_key, dk, dv = int(m.one(1, 2)), int(m.one(1, 2, 3)), int(m.one(16, 32)), int(m.one(16, 32))
    is_plain, delta = m.chance(0.3), m.chance(0.6)
    if not is_plain and m.chance(0.6):
        dk, dv = int(m.one(1, 3, 8, 20, 33)), int(m.one(1, 5, 12, 33))
    v_heads = k_heads * per_key
    beta = m.op("sigmoid", m.of(v_heads))
    decay = m.op("neg", m.op("softplus", m.of(*(v_heads, dk) if not is_plain and m.chance(0.4) else (v_heads,))))
    memory = m.state(TensorType("f32", ("S", v_heads, dk, dv)))
    q, k, v = (
        _convolved(m, k_heads, v_heads, dk, dv) if is_plain else _from_anywhere(m, k_heads, v_heads, dk, dv, delta)
    )
    if not all(map(m.is_tame, (k, v))):
        return
    out, _memory = m.op("linear_recurrence", q, k, v, decay, beta, memory, delta=is_plain or delta, tiled=m.chance(0.3))
    if m.chance(0.4):
        out = m.op("add", out, m.op("mul", v, m.vector(v_heads, 1)))  # Mamba-2's skip term
    if m.chance(0.6) and m.is_tame(out) and dv > 1:
        if m.chance(0.4):  # over all heads, as Mamba-2 has it
            out = m.op("reshape", out, shape=(v_heads * dv,))
        m.op("rms_norm", out, m.vector(out.type.shape[-1]), eps=1e-5)


@maker("pool")
def _pool(m: Maker) -> None:
    """Entries that are normed, turned and kept, as compressed attention has them."""
    size, runs, every = int(m.one(1, 16, 33, 64)), int(m.one(1, 2, 2, 3)), int(m.one(1, 2, 3))
    width, rows = runs * size, runs * every + 16 + int(m.one(0, 0, 3))
    values, gates = m.of(width), m.of(width)
    if not (m.is_tame(values) and m.is_tame(gates)):
        return
    kept = m.state(TensorType("f32", ("S", rows, 2 * width)))
    y, _kept = m.op("pool", values, gates, m.vector(every, width), kept, runs=runs)
    if m.chance(0.4):
        m.op("add", y, m.of(size))


def _cache(m: Maker, kv_heads: int, head: int, every: int = 1) -> Value | None:
    k, v = m.of(kv_heads, head), m.of(kv_heads, head)
    if not (m.is_tame(k) and m.is_tame(v)):
        return None
    return m.op("kv_append", m.state(TensorType("kv", ("S", kv_heads, f"C{every}" if every > 1 else "C", head))), k, v)


@maker("choose")
def _choose(m: Maker) -> None:
    """Clear of rounding, or of all that a row sees. What it chose is read by attention alone."""
    heads, head, every = int(m.one(1, 3, 8)), int(m.one(8, 12, 40, 64)), int(m.one(1, 2))
    cache, entries, near = _cache(m, 1, head, every), _cache(m, 1, head, every), _cache(m, 1, head)
    q, weights = m.of(heads, head), m.of(heads)
    if cache is None or entries is None or near is None or not m.is_tame(q):
        return
    top = int(m.one(1, 2, 5, 12))
    attrs = {"top": top}
    kv, (step, *_) = m.env[cache], STEPS
    meaning, rng = OPS["choose"].meaning, np.random.default_rng(0)
    found, x = meaning(m.env[q], m.env[weights], kv, **attrs, step=step), np.asarray(m.env[q])
    off = 5e-3 * np.abs(x).max()
    for _ in range(20):
        moved = x + np.float32(off) * rng.uniform(-1, 1, x.shape).astype(np.float32)
        if not np.array_equal(meaning(moved, m.env[weights], kv, **attrs, step=step), found):
            return
    chosen = m.op("choose", q, weights, cache, **attrs)
    window = 0 if every == 1 else 2  # rows before the first entry have nothing else
    m.op("attend_entries", q, near, entries, m.vector(heads), chosen, scale=head**-0.5, window=window)


@maker("attend_entries")
def _attend_entries(m: Maker) -> None:
    """Over the last positions and entries; heads of odd sizes and of several runs a lane; a cache alone."""
    kv_heads, group, head = int(m.one(1, 1, 2)), int(m.one(1, 3, 5)), int(m.one(8, 12, 40, 64, 128))
    window, every = (int(m.one(1, 2, 5)), int(m.one(1, 2, 3))) if m.chance(0.8) else (0, 1)
    near, entries, q = _cache(m, kv_heads, head), _cache(m, kv_heads, head, every), m.of(kv_heads * group, head)
    if near is None or entries is None or not m.is_tame(q):
        return
    sinks = [_vector(m, kv_heads * group)] if m.chance(0.5) else []
    m.op("attend_entries", q, near, entries, *sinks, scale=head**-0.5, window=window)


@maker("previous")
def _previous(m: Maker) -> None:
    x = m.any()
    m.op("previous", x, *([m.of(*x.type.shape[1:])] if m.chance(0.5) else []))


@maker("keep_first")
def _keep_first(m: Maker) -> None:
    x = m.any()
    m.op("keep_first", x, m.of(*x.type.shape[1:]))


@maker("recall")
def _recall(m: Maker) -> None:
    size = int(m.one(3, 32, 40))
    u, window = m.of(size), m.state(TensorType("f32", ("S", size, 1)))
    if m.is_tame(u):
        m.op("recall", window)
        m.op("causal_conv", u, m.vector(size, 2), window)


@maker("dynamic_conv")
def _dynamic_conv(m: Maker) -> None:
    groups, taps = int(m.one(1, 2, 4)), int(m.one(1, 2, 3))
    x = m.of(groups * int(m.one(1, 8, 12)))
    m.op("dynamic_conv", x, m.vector(taps, x.type.shape[1]), m.of(taps, groups))


@maker("argmax")
def _argmax(m: Maker) -> None:
    x = m.of(VOCAB)
    if is_clear(np.asarray(m.env[x]), 1):
        table = m.vector(VOCAB, int(m.one(1, 8, 32)))
        m.op("gather", table, m.op("keep_first", m.op("argmax", x), m.tokens))


@maker("top_candidates")
def _top_candidates(m: Maker) -> None:
    x, top = m.of(int(m.one(12, 24))), int(m.one(1, 2, 4))
    values, ids = m.op("top_candidates", x, top=top)
    if is_clear(np.asarray(m.env[x]), top):
        m.ids.append((ids, values, x.type.shape[1]))


@maker("select_candidates")
def _select_candidates(m: Maker) -> None:
    x, top, rank = m.of(VOCAB), int(m.one(2, 4)), int(m.one(8, 16))
    scores, ids = m.op("top_candidates", x, top=top)
    if not is_clear(np.asarray(m.env[x]), top):
        return
    before, after = m.vector(VOCAB, rank), m.vector(VOCAB, rank)
    chosen = m.op("select_candidates", scores, ids, m.of(rank), before, after, m.tokens)
    m.op("gather", m.vector(VOCAB, 8), chosen)

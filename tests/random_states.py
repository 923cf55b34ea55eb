"""Random ops that read or carry on a state, and those of drafts."""

from __future__ import annotations

import numpy as np
from random_maker import VOCAB, Maker, is_clear
from random_plain import MAKERS, maker

from hfc.ir.graph import TensorType


@maker("rope")
def _rope(m: Maker) -> None:
    x = m.any(lambda s: len(s) == 2 and s[1] >= 2, 3, 16)
    rotary = min(x.type.shape[2] // 2 * 2, int(m.one(2, 4, 8, 128)))
    m.op("rope", x, m.table(rotary))


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
        sinks = [m.vector(kv_heads * group)] if m.chance(0.3) else []
        m.op(
            "attend", q, kv, *sinks, scale=head**-0.5, window=window, softcap=m.one(0.0, 0.0, 5.0),
            causal=m.chance(0.85), first=0 if window else int(m.one(0, 0, 2)),
        )  # fmt: skip
        q = m.of(kv_heads * group, head)


MAKERS["kv_append"] = _attend


@maker("causal_conv")
def _causal_conv(m: Maker) -> None:
    channels, taps = int(m.one(3, 16, 33, 64)), int(m.one(2, 3, 4))
    u, window = m.of(channels), m.state(TensorType("f32", ("S", channels, taps - 1)))
    if m.is_tame(u):
        y, _window = m.op("causal_conv", u, m.vector(channels, taps), window)
        m.op(m.one("silu", "tanh"), y)


@maker("gated_delta")
def _gated_delta(m: Maker) -> None:
    k_heads, per_key, dk, dv = int(m.one(1, 2)), int(m.one(1, 2, 3)), int(m.one(16, 32)), int(m.one(16, 32))
    v_heads = k_heads * per_key
    sizes = (k_heads * dk, k_heads * dk, v_heads * dv)
    channels = sum(sizes)
    u, window = m.of(channels), m.state(TensorType("f32", ("S", channels, 3)))
    beta, decay = m.op("sigmoid", m.of(v_heads)), m.op("neg", m.op("softplus", m.of(v_heads)))
    memory = m.state(TensorType("f32", ("S", v_heads, dk, dv)))
    before = list(m.values)
    y, _window = m.op("causal_conv", u, m.vector(channels, 4), window)
    q, k, v = m.op("split", m.op("silu", y), sizes=sizes)
    q, k = (m.op("l2_norm", m.op("reshape", x, shape=(k_heads, dk)), eps=1e-6) for x in (q, k))
    q = m.op("scale", q, by=dk**-0.5)
    v = m.op("reshape", v, shape=(v_heads, dv))
    out, _memory = m.op("gated_delta", q, k, v, decay, beta, memory, tiled=m.chance(0.3))
    m.values = [
        *before,
        *(v for v in m.values if v is out),
    ]  # its skeleton starts at the convolution, which nothing else reads
    if m.chance(0.6) and m.is_tame(out):
        m.op("rms_norm", out, m.vector(dv), eps=1e-5)


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

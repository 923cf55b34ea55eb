"""Memory, barriers, atomics, cross-lane moves, calls and the checks, on every GPU family."""

import numpy as np
from harness import close, raises, same

KERNELS = "basic"


def test_vadd(t):
    n = 1000
    a, b, c = (t.f32(n), t.f32(n), np.zeros(n, np.float32))
    t("vadd", 4, 256, a, b, c, n)
    same(c, a + b)


def test_hidden(t):
    out = np.zeros(4 * 64, np.int32)
    t("hidden", (3, 2), (32, 1), out)
    same(out.reshape(-1, 4), np.tile([32, 1, 96, 2], (64, 1)))


def test_ids(t):
    out = np.full(12 * 64, -1, np.int32)
    t("ids", (3, 2, 2), (8, 4, 2), out)
    z, y, x = np.meshgrid(range(2), range(4), range(8), indexing="ij")
    bz, by, bx = np.meshgrid(range(2), range(2), range(3), indexing="ij")
    same(out.reshape(12, 64), (bx << 12 | by << 16 | bz << 20).reshape(12, 1) | (x | y << 4 | z << 8).reshape(1, 64))


def test_lds_reduce(t):
    x, y = (t.rng.integers(-99, 99, 1024).astype(np.float32), np.zeros(4, np.float32))
    t("lds_reduce", 4, 256, x, y)
    same(y, x.reshape(4, 256).sum(1))
    y[:] = 0
    t("lds_reduce", 4, 256, x, y, quantum=7, reverse=True, concurrent=True)
    same(y, x.reshape(4, 256).sum(1))


def test_race(t):
    x, outs = (t.f32(256), [])
    for kw in ({}, {"reverse": True}, {"quantum": 3}):
        y = np.zeros(256, np.float32)
        t("racy", 1, 256, x, y, **kw)
        outs.append(np.array_equal(y, x[np.arange(256) ^ 128]))
    assert not all(outs), "the race stayed hidden"


def test_bounds(t):
    x = np.zeros(100, np.float32)
    t("stage_oob", 1, 64, x, 36)
    assert x.sum() == 64
    raises(lambda: t("stage_oob", 1, 64, x, 37), "byte 400 of array 0")
    ro = np.zeros(64, np.float32)
    ro.flags.writeable = False
    raises(lambda: t("stage_oob", 1, 64, ro, 0), "read-only")
    raises(lambda: t("dynlds", 1, 64, np.zeros(128, np.float32), np.zeros(128, np.float32), 128, shared=500), "LDS")


def test_dynlds(t):
    x, y = (t.f32(300), np.zeros(300, np.float32))
    t("dynlds", 1, 64, x, y, 300, shared=1200)
    same(y, x[::-1])


def test_collatz(t):
    n = 64
    x, y = (t.rng.integers(1, 3000, n).astype(np.uint32), np.zeros(n, np.uint32))
    t("collatz", 1, n, x, y)

    def f(v):
        c = 0
        while v != 1:
            v = 3 * v + 1 if v & 1 else v >> 1
            c += 1
        return c

    same(y, np.array([f(int(v)) for v in x], np.uint32))


def test_rodata(t):
    tab = np.array(
        [
            -1.0,
            -0.6962,
            -0.5251,
            -0.3949,
            -0.2844,
            -0.1848,
            -0.0911,
            0.0,
            0.0796,
            0.1609,
            0.2461,
            0.3379,
            0.4407,
            0.5626,
            0.723,
            1.0,
        ],
        np.float32,
    )
    q, y = (t.rng.integers(0, 256, 64).astype(np.uint8), np.zeros(64, np.float32))
    t("rodata", 1, 64, q, y)
    close(y, tab[q & 15] * 2 + tab[q >> 4], 1e-06, 1e-07)


def test_calls(t):
    x, y = (t.f32(64), np.zeros(64, np.float32))
    t("calls", 1, 64, x, y, 5)

    def p(v, n):
        return np.polyval(np.arange(n, -1, -1), v.astype(np.float64))

    close(y, p(x, 5) + p(-x, 6), 0.0001, 0.0001)


def test_scratch(t):
    n, m = (64, 6)
    idx, out = (t.rng.integers(0, 16, (n, m)).astype(np.int32), np.zeros(n, np.int32))
    t("scratch", 1, n, idx, out, m)
    a = (np.arange(16)[None] ** 2 + np.arange(n)[:, None]).astype(np.int64)
    for i in range(m):
        j = idx[:, i]
        a[np.arange(n), j] += a[np.arange(n), j + 5 & 15] ^ i
    s = np.zeros(n, np.int64)
    for i in range(16):
        s = s * 31 + a[:, i]
    same(out, s.astype(np.uint64).astype(np.uint32).view(np.int32))


def test_scratch_barrier(t):
    n, m = (128, 5)
    idx, out = (t.rng.integers(0, 16, m + 2).astype(np.int32), np.zeros(n, np.int32))
    t("scratch_barrier", 1, n, idx, out, m)
    tt = np.arange(n)
    a = tt[:, None] * 100 + np.arange(16)[None]
    for i in range(m):
        a[:, idx[i]] += tt
        x = a[:, idx[i + 1]].copy()
        a[:, idx[i + 2]] ^= x[tt + 33 & 127]
    same(out, a[:, idx[0]].astype(np.int32))


def test_atomics(t):
    x = t.rng.integers(1, 100000, 128).astype(np.int32)
    for kw in ({}, {"quantum": 5, "concurrent": True}):
        g, gf, g64, ret = (
            np.zeros(16, np.uint32),
            np.zeros(1, np.float32),
            np.zeros(1, np.uint64),
            np.zeros(128, np.uint32),
        )
        g[15] = 4294967295
        t("atomics", 2, 64, g, gf, g64, ret, x, **kw)
        same(g[:8], np.bincount(x & 7, minlength=8).astype(np.uint32))
        assert g[8] == 128 and g[9] == sum(x.reshape(2, 64).max(1)), g
        assert g[10] == 384 and g[11] == 4294967295 and (g[12] == 3) and (g[15] == min(1000, x.min())), g
        assert gf[0] == (x & 255).sum() and g64[0] == int(x.astype(np.int64).sum()) << 20
        same(np.sort(ret.reshape(2, 64), 1), np.tile(np.arange(64, dtype=np.uint32), (2, 1)))


def test_narrow(t):
    n = 64
    r = t.rng
    b, sb, h, sh = (
        r.integers(np.iinfo(d).min, np.iinfo(d).max, n, dtype=d, endpoint=True)
        for d in (np.uint8, np.int8, np.uint16, np.int16)
    )
    ob, oh, oi = (np.zeros((n, 2), np.uint8), np.zeros((n, 2), np.uint16), np.zeros((n, 4), np.int32))
    t("narrow", 1, n, b, sb, h, sh, ob, oh, oi)
    same(oi[:, 0], b.astype(np.int32) + 1)
    same(oi[:, 1], sb.astype(np.int32) * 3)
    same(oi[:, 2], h.astype(np.int32) - 5)
    same(oi[:, 3], sh.astype(np.int32) * 7)
    same(ob, np.stack([sb.view(np.uint8) >> 1, b ^ 85], 1))
    same(oh, np.stack([h + sh.view(np.uint16), b.astype(np.uint16) << 8 | sb.view(np.uint8)], 1))


def test_buffer(t):
    x, y = (t.f32(64), np.full(64, 9, np.float32))
    t("buffer", 1, 64, x, y, 40)
    same(y, np.where(np.arange(64) < 40, np.where(np.arange(64) < 39, np.roll(x, -1), 0) * 2, 9).astype(np.float32))


def test_shuffles(t):
    W = t.wave
    lane = np.arange(W)
    r16, i16 = (lane & ~15, lane & 15)
    x = t.rng.integers(0, 1 << 30, W).astype(np.int32)
    o = np.zeros((W, 16), np.int32)
    t("shuffles", 1, W, x, o)
    same(o[:, 0], x[(lane * 7 + 3) % W])
    same(o[:, 1], x[lane ^ 5])
    same(o[:, 2], x[lane ^ 1])
    same(o[:, 3], x[lane ^ 3])
    same(o[:, 4], np.where(i16 >= 1, x[(lane - 1) % W], -1))
    same(o[:, 5], np.where(i16 < 15, x[(lane + 1) % W], 0))
    same(o[:, 6], x[r16 | (i16 - 4) % 16])
    same(o[:, 7], x[r16 | 15 - i16])
    same(o[:, 8], x[r16 | i16 & 8 | 7 - (i16 & 7)])
    same(o[:, 9], np.where((lane >> 4) % 2 == 0, x[lane & ~3 | np.array([2, 3, 1, 0])[lane & 3]], x))
    same(o[:, 10], np.full(W, x[5]))
    same(o[:, 11], np.where(lane >= 9, x[9], 0))
    if W == 32:
        perm = np.r_[0:8, np.array([15, 14, 13, 12, 11, 10, 9, 8])]
        same(o[:, 12], x[r16 | perm[i16]])
        same(o[:, 13], x[r16 ^ 16 | np.r_[0:16][i16]])
        same(o[:, 14], x[lane ^ 7])
        same(o[:, 15], x[r16 | 3])
    else:
        row = lane >> 4
        same(o[:, 12], np.where(row & 1 == 1, x[np.maximum(r16 - 1, 0)], -7))
        same(o[:, 13], np.where(row >= 2, x[31], -9))
        same(o[:, 14], np.where(lane > 0, x[lane - 1], -5))


def test_dpp_math(t):
    W = t.wave
    x, o = (t.f32(W), np.zeros((3, W), np.float32))
    t("dpp_math", 1, W, x, o)
    close(o[0], np.cumsum(x.reshape(-1, 16), 1).ravel(), 1e-05, 1e-06)
    same(o[1], np.repeat(x.reshape(-1, 16).max(1), 16))
    q = x[np.arange(W) ^ 1]
    close(o[2], -q.astype(np.float64) * x + abs(q), 1e-05, 1e-06)

"""Whole small kernels and matrix instructions against numpy."""

import numpy as np
import pytest
from harness import close, same

KERNELS = "kernels"


def bf(x):
    return (x.astype(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def fp8(v, fnuz):
    e, m = ((v >> 3 & 15).astype(int), (v & 7).astype(int))
    r = np.where(e == 0, m * 2.0 ** (-9 - fnuz), (8 + m) * 2.0 ** (e - 10 - fnuz))
    return np.where(v & 128, -r, r)


def test_gemv4(t):
    rows, cols, per = (16, 1024, 128 // t.wave)
    q = t.rng.integers(0, 16, (rows, cols))
    s, z = ((t.rng.random((rows, 4)) * 0.1).astype(np.float16), t.rng.integers(0, 16, (rows, 4)).astype(np.float16))
    x, y = (t.f16(cols), np.zeros(rows, np.float32))
    w = (q.reshape(rows, -1, 8).astype(np.uint64) << np.arange(0, 32, 4, dtype=np.uint64)).sum(2).astype(np.uint32)
    t("gemv4", rows // per, 128, w, np.stack([s, z], 2), x, y, cols, profile=True)
    d = (
        ((q.reshape(rows, 4, 256) - z[..., None].astype(np.float64)) * s[..., None].astype(np.float64))
        .astype(np.float16)
        .astype(np.float64)
    )
    close(y, (d.reshape(rows, cols) * x).sum(1), 0.0001, 0.001)


def test_gemv_q4_0(t):
    rows, nb = (4, 100)
    w = np.zeros((rows, nb), np.dtype([("d", np.float16), ("q", np.uint8, 16)]))
    w["d"], w["q"] = (t.f16(rows, nb), t.rng.integers(0, 256, (rows, nb, 16)))
    x, y = (t.f32(nb * 32), np.zeros(rows, np.float32))
    t("gemv_q4_0", rows, 64, w, x, y, nb)
    q = np.concatenate([w["q"] & 15, w["q"] >> 4], 2).astype(np.float64) - 8
    close(y, (q * w["d"][..., None].astype(np.float64) * x.reshape(1, nb, 32)).sum((1, 2)), 0.0001, 0.001)


def test_flash_decode(t):
    n, hd = (37, 64)
    q, k, v, o = (t.f16(hd), t.f16(n, hd), t.f16(n, hd), np.zeros(hd, np.float32))
    t("flash_decode", 1, 128, q, k, v, o, n, np.float32(0.125 * 1.4426950408889634))
    s = k.astype(np.float64) @ q.astype(np.float64) * 0.125
    p = np.exp(s - s.max())
    p /= p.sum()
    close(o, p @ v.astype(np.float64), 0.0001, 1e-05)


def test_agpr(t):
    if "agpr" not in t.kernels:
        pytest.skip("no AGPRs")
    a, b, c = (t.f16(16, 16), t.f16(16, 16), t.f32(16, 16))
    d = c.copy()
    t("agpr", 1, 64, a, b, d)
    close(d, a.astype(np.float64) @ b.T.astype(np.float64) * 2 + c, 1e-05, 1e-05)


def test_matrix(t):
    rdna = t.arch.startswith(("gfx11", "gfx12"))
    ks = t.kernels
    if "mat_f16" not in ks:
        pytest.skip("no matrix instructions")
    t.cases = []
    a, b, c = (t.f16(16, 16), t.f16(16, 16), t.f32(16, 16))
    d = c.copy()
    t("mat_f16", 1, t.wave, a, b, d)
    close(d, a.astype(np.float64) @ b.T.astype(np.float64) + c, 1e-05, 1e-05)
    if "mat_bf16" in ks:
        a, b = ((t.f32(16, 16).view(np.uint32) >> 16).astype(np.uint16) for _ in range(2))
        d = c.copy()
        t("mat_bf16", 1, t.wave, a, b, d)
        close(d, bf(a) @ bf(b).T + c, 1e-05, 1e-05)
    if "mat_f16f16" in ks:
        a, b, h = (t.f16(16, 16), t.f16(16, 16), t.f16(16, 16))
        g = h.copy()
        t("mat_f16f16", 1, 32, a, b, g)
        close(g, a.astype(np.float64) @ b.T.astype(np.float64) + h, 0.001, 0.001)
    if rdna:
        a, b, c = (t.rng.integers(-128, 128, (16, 16)).astype(d) for d in (np.int8, np.int8, np.int32))
        d = c.copy()
        t("mat_i8", 1, 32, a, b, d)
        same(d, a.astype(np.int32) @ b.T.astype(np.int32) + c)
        a, b = (t.u32(16, 2), t.u32(16, 2))
        d = c.copy()
        t("mat_u4", 1, 32, a, b, d)
        na = (a[..., None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15).reshape(16, 16).astype(np.int32)
        nb = (b[..., None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15).reshape(16, 16).astype(np.int32)
        nb = np.where(nb > 7, nb - 16, nb)
        same(d, na @ nb.T + c)
    if "mat_i8k32" in ks:
        a, b, c = (
            t.rng.integers(-128, 128, s).astype(d)
            for s, d in (((16, 32), np.int8), ((16, 32), np.int8), ((16, 16), np.int32))
        )
        d = c.copy()
        t("mat_i8k32", 1, 64, a, b, d)
        same(d, a.astype(np.int32) @ b.T.astype(np.int32) + c)
    if "mat32_f16" in ks:
        a, b, c = (t.f16(32, 8), t.f16(32, 8), t.f32(32, 32))
        d = c.copy()
        t("mat32_f16", 1, 64, a, b, d)
        close(d, a.astype(np.float64) @ b.T.astype(np.float64) + c, 1e-05, 1e-05)
    for name, k, fnuz in (("mat_fp8", 16, 0), ("mat_fp8k32", 32, 1)):
        if name not in ks:
            continue
        a, b = (
            t.rng.integers(0, 120, (16, k)).astype(np.uint8) | (t.rng.integers(0, 2, (16, k)) << 7).astype(np.uint8)
            for _ in range(2)
        )
        if fnuz:
            a[a == 128] = 1
            b[b == 128] = 1
        c = t.f32(16, 16)
        d = c.copy()
        t(name, 1, t.wave, a, b, d)
        close(d, fp8(a, fnuz) @ fp8(b, fnuz).T + c, 0.0001, 0.001)


def test_gemm(t):
    if "gemm" not in t.kernels:
        pytest.skip("no gemm")
    m, n, k = (128, 64, 64)
    a, b, c = (t.f16(m, k), t.f16(n, k), np.zeros((m, n), np.float32))
    t("gemm", (m // 64, n // 64), 128, a, b, c, n, k)
    close(c, a.astype(np.float64) @ b.T.astype(np.float64), 0.0001, 0.0001)

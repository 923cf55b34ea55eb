"""Integer and float arithmetic of every width against numpy and Python integers."""

import numpy as np
import pytest
from harness import close, same

KERNELS = "math"


def fp8(v, fnuz):
    e, m = ((v >> 3 & 15).astype(int), (v & 7).astype(int))
    r = np.where(e == 0, m * 2.0 ** (-9 - fnuz), (8 + m) * 2.0 ** (e - 10 - fnuz))
    return np.where(v & 128, -r, r)


def test_packed16(t):
    n = 64
    a, b = (t.f16(n, 2), t.f16(n, 2))
    c, d = (np.zeros((n, 6, 2), np.float16), np.zeros((n, 4, 2), np.int16))
    t("packed16", 1, n, a, b, c, d)
    close(c[:, 0], a.astype(np.float64) * b + a, 0.001, 0.0001)
    same(c[:, 1], a + b[:, ::-1])
    same(c[:, 2], np.maximum(a, b))
    same(c[:, 3], np.minimum(a, -b))
    close(c[:, 4, 0], a[:, 0].astype(np.float64) * 3 + 0.5, 0.001, 0.0001)
    close(c[:, 4, 1], np.abs(b[:, 1]), 0.001)
    close(c[:, 5], np.stack([a[:, 0], b[:, 1]], 1).astype(np.float64) * 1.001, 0.002)
    s, u = (a.view(np.int16), b.view(np.int16))
    same(d[:, 0], s + u)
    same(d[:, 1], s * u)
    same(d[:, 2], np.maximum(s, u))
    same(d[:, 3], s >> np.array([3, 5], np.int16))


def test_dots(t):
    n = 64
    x, y, h, g = (t.u32(n), t.u32(n), t.f16(n, 2), t.f16(n, 2))
    o, f = (np.zeros((n, 4), np.int32), np.zeros(n, np.float32))
    t("dots", 1, n, x, y, h, g, o, f)
    bx, by = (x.view(np.int8).reshape(n, 4).astype(int), y.view(np.int8).reshape(n, 4).astype(int))

    def nib(v):
        return ((v.view(np.uint8)[:, None] >> [0, 4] & 15).astype(np.int8) << 4 >> 4).reshape(n, 8).astype(int)

    if t.arch != "gfx1010":
        same(o[:, 0], (bx * by).sum(1) + 7)
        same(o[:, 1], (bx * (by & 255)).sum(1) + 7)
        same(o[:, 2], ((bx & 255) * (by & 255)).sum(1) + 9)
        same(o[:, 3], (nib(x) * nib(y)).sum(1) - 3)
    close(f, (h.astype(np.float64) * g).sum(1) + 0.25, 0.0001, 1e-05)


def test_fmath(t):
    n = 64
    a, b, o = (t.f32(n) * 4, t.f32(n) * 2, np.zeros((n, 20), np.float32))
    t("fmath", 1, n, a, b, o)
    x, y = (a.astype(np.float64), b.astype(np.float64))
    p = np.abs(x)
    f = np.float32
    want = [
        x / y,
        np.sqrt(p),
        p ** (-0.5),
        1 / y,
        2**x,
        np.log2(p),
        x * y + 1.5,
        np.floor(a * f(3)),
        np.rint(a * f(3)),
        np.trunc(a * f(3)),
        x * 8,
        np.copysign(x, y),
        np.clip(x, -1, 1),
        np.median([x, y, np.full(n, 0.5)], 0),
        np.sin(x),
        np.cos(x),
        np.trunc(a * f(100)),
        np.trunc(np.abs(a) * f(100000.0)),
        a * f(7) - np.floor(a * f(7)),
        2**y * np.log2(p),
    ]
    for i, w in enumerate(want):
        try:
            close(
                o[:, i],
                w,
                3e-06 if i not in (14, 15) else 0.0001,
                2e-06 if i not in (14, 15, 17) else 0.0002 if i != 17 else 1,
            )
        except AssertionError as e:
            raise AssertionError(f"result {i}: {e}") from None
    same(o[:, 0], a / b)


def imath_ref(a, b):
    M = 4294967295

    def sg(v):
        return v - (1 << 32) if v >> 31 else v

    def tdiv(p, q):
        return int(abs(p) // abs(q)) * (1 if (p < 0) == (q < 0) else -1)

    want = np.zeros((len(a), 20), np.uint32)
    for i, (x, y) in enumerate(zip(map(int, a), map(int, b))):
        sx, sy, w = (sg(x), sg(y), x << 32 | y)
        d, sd = (y | 1, sg(y | 1))
        by = [y >> 8 * j & 255 for j in range(4)] + [x >> 8 * j & 255 for j in range(4)]
        sb = x >> 7 & 511
        want[i] = [
            v & M
            for v in (
                x * y,
                x * y >> 32,
                sx * sy >> 32,
                x // d,
                x % d,
                tdiv(sx, sd),
                sx - tdiv(sx, sd) * sd,
                bin(x).count("1"),
                32 - x.bit_length(),
                int(f"{x:032b}"[::-1], 2),
                (w * 3 + x & (1 << 64) - 1) >> 17,
                w >> (y & 63),
                w - 4886718345 >> 32,
                by[2] | by[5] << 8 | by[1] << 16 | by[6] << 24,
                w >> 9,
                x >> 5 & 2047,
                sb - 512 if sb & 256 else sb,
                x & y | ~x & 252645135,
                (x << 5) + y,
                (x if sx < sy else y) ^ max(x, y),
            )
        ]
    return want


def test_imath(t):
    n = 64
    a, b, o = (t.u32(n), t.u32(n), np.zeros((n, 20), np.uint32))
    b[:8] = [0, 1, 2, 3, 2147483648, 4294967295, 7, 8]
    a[:4] = [0, 1, 2147483648, 4294967295]
    t("imath", 1, n, a, b, o)
    want = imath_ref(a, b)
    for j in range(20):
        try:
            same(o[:, j], want[:, j])
        except AssertionError as e:
            raise AssertionError(f"result {j}: {e}") from None


def test_smath(t):
    b = np.array([305419896, 0, 1, 4294967295, 2147483648, 77, 3735928559], np.uint32)
    a = np.array([2596069105, 3, 0, 5, 4294967295, 2147483647, 3405691582], np.uint32)
    o = np.zeros((len(a), 20), np.uint32)
    for i in range(len(a)):
        r = np.zeros(20, np.uint32)
        t("smath", 1, 1, int(a[i]), int(b[i]), r)
        o[i] = r
    want = imath_ref(a, b)
    for j in range(20):
        try:
            same(o[:, j], want[:, j])
        except AssertionError as e:
            raise AssertionError(f"result {j}: {e}") from None


def test_hmath(t):
    n = 64
    a, b, o, oi = (
        t.f16(n) * np.float16(3),
        t.f16(n) * np.float16(2),
        np.zeros((n, 16), np.float16),
        np.zeros((n, 4), np.int32),
    )
    t("hmath", 1, n, a, b, o, oi)
    x, y, i = (a.astype(np.float64), b.astype(np.float64), np.arange(n))
    p = np.abs(x)
    h = np.float16
    want = [
        x / y,
        np.sqrt(p),
        x * y + 1.5,
        np.floor(a * h(3)),
        np.rint(a * h(3)),
        np.clip(x, -1, 1),
        2**x,
        np.log2(p),
        np.where(a < b, a, b + h(1)),
        -np.abs(y),
        (i * 37 - 999).astype(np.int16),
        (i * 1000).astype(np.uint16),
        np.ceil(x),
        np.trunc(b * h(5)),
        np.copysign(x, y),
        x * y - p,
    ]
    for j, w in enumerate(want):
        try:
            close(o[:, j], w, 0.0015, 0.002 if j in (2, 7, 15) else 1e-06)
        except AssertionError as e:
            raise AssertionError(f"result {j}: {e}") from None
    same(
        oi,
        np.stack([np.trunc(a * h(100)), np.trunc(np.abs(a) * h(100)), a < b, a.view(np.uint16) >> 3], 1).astype(
            np.int32
        ),
    )


def test_small(t):
    n = 64
    a, b = (t.rng.integers(-32768, 32768, n).astype(np.int16) for _ in range(2))
    o = np.zeros((n, 16), np.int16)
    a[:4], b[:4] = ([32767, -32768, 0, -1], [1, -1, -32768, -1])
    t("small", 1, n, a, b, o)
    x, y, ux, uy = (
        a.astype(np.int64),
        b.astype(np.int64),
        a.view(np.uint16).astype(np.int64),
        b.view(np.uint16).astype(np.int64),
    )

    def tdiv(p, q):
        return np.trunc(p / q).astype(np.int64)

    want = [
        np.clip(x + y, -32768, 32767),
        np.clip(y - x, -32768, 32767),
        np.minimum(ux + uy, 65535),
        np.maximum(ux - uy, 0),
        x * y,
        np.minimum(x, y),
        np.maximum(ux, uy),
        x >> (y & 15),
        ux >> (uy & 15),
        x << (y & 15),
        tdiv(x, y | 1),
        ux % (uy | 1),
        (x < y).astype(int) - (ux < uy),
        np.clip(x * 65536 + 1 + y * 65536 + 1, -1 << 31, (1 << 31) - 1) >> 16,
        (ux & 255) + (uy >> 8),
        x * y + 12345,
    ]
    for j, w in enumerate(want):
        try:
            same(o[:, j], w.astype(np.int64).astype(np.uint64).astype(np.uint16).view(np.int16))
        except AssertionError as e:
            raise AssertionError(f"result {j}: {e}") from None


def test_wide(t):
    n = 64
    a, b = (t.rng.integers(-1 << 63, (1 << 63) - 1, n) >> t.rng.integers(0, 60, n) for _ in range(2))
    o = np.zeros((n, 12), np.int64)
    a[:4], b[:4] = ([0, -1, 1 << 62, 5], [0, 1, -(1 << 62), 5])
    t("wide", 1, n, a, b, o)
    M = (1 << 64) - 1
    for i, (x, y) in enumerate(zip(map(int, a), map(int, b))):
        ux, uy, d = (x & M, y & M, y | 1)
        want = [
            min(x, y),
            max(ux, uy),
            x * y,
            x - y,
            x >> (y & 63),
            ux << (uy & 63),
            bin(ux).count("1"),
            64 - ux.bit_length(),
            (ux & -ux).bit_length() - 1 if ux else 64,
            int(np.float32(x)),
            (x == y) + 2 * (x <= y) + 4 * (ux >= uy),
            int(abs(x) // abs(d)) * (1 if (x < 0) == (d < 0) else -1),
        ]
        for j, w in enumerate(want):
            assert int(o[i, j]) & M == w & M, f"result {j} of {x}, {y}: got {o[i, j]}, want {w}"


def test_dmath(t):
    n = 64
    a, b, o = (t.rng.standard_normal(n), t.rng.standard_normal(n), np.zeros((n, 4)))
    t("dmath", 1, n, a, b, o)
    close(o[:, 0], a * b + 1.25, 1e-14, 1e-15)
    close(o[:, 1], a / b, 1e-14)
    close(o[:, 2], np.abs(a), 1e-14)
    close(o[:, 3], a.astype(np.float32).astype(float) + np.trunc(b * 1000), 1e-14)


def test_bytes(t):
    n = 64
    a, o, p = (t.u32(n), np.zeros((n, 4), np.float32), np.zeros(n, np.uint32))
    t("bytes", 1, n, a, o, p)
    same(o, a.view(np.uint8).reshape(n, 4).astype(np.float32))
    same(p, a.byteswap())


def test_fp8cvt(t):
    if "fp8cvt" not in t.kernels:
        pytest.skip("no fp8 conversions")
    n, fnuz = (64, int(t.arch.startswith("gfx94")))
    a = np.arange(4 * n).astype(np.uint8)
    o, p = (np.zeros(4 * n, np.float32), np.zeros(n, np.uint32))
    x = t.f32(2 * n) * 20
    t("fp8cvt", 1, n, a, x, o, p)
    ok = a & 127 != 127 if not fnuz else a != 128
    same(o[ok], fp8(a, fnuz)[ok].astype(np.float32))
    got = fp8(p.view(np.uint8).reshape(n, 4)[:, :2], fnuz)
    close(got.ravel(), x, 0.0626, 0.002)


def test_denorm(t):
    n = 64
    a, o, h = ((t.rng.standard_normal(n) * 1e-38).astype(np.float32), np.zeros(n, np.float32), np.zeros(n, np.float16))
    t("denorm", 1, n, a, o, h)
    same(o, a * np.float32(0.5))
    same(h, (a * np.float32(1e33)).astype(np.float16) * np.float16(0.5))


def test_bf16(t):
    n = 64
    x, b, o, f = (t.f32(n), t.f32(n), np.zeros(n, np.uint16), np.zeros(n, np.float32))
    a = (x.view(np.uint32) >> 16).astype(np.uint16)
    t("bf16", 1, n, a, b, o, f)
    w = (a.astype(np.uint32) << 16).view(np.float32) * b
    same(f, w)
    r = w.view(np.uint32)
    same(o, (r + 32767 + (r >> 16 & 1) >> 16).astype(np.uint16))


def test_division_is_exact_for_all_magnitudes(t):
    """Division is a sequence of scaled steps; only their right meaning gives IEEE's quotient, denormals included."""
    blocks = 64
    n = 64 * blocks
    a, b, c, d = (t.u32(n).view(np.float32), t.u32(n).view(np.float32), *(t.u32(2 * n).view(np.float64) for _ in "cd"))
    special = [0, -0.0, 1, np.inf, -np.inf, np.nan, 1e-45, 1.17549435e-38, 3.4e38, 2.0**126, 2.0**127, 1e-39]
    grid = np.array(np.meshgrid(special, special), np.float32).reshape(2, -1)
    a[: grid.shape[1]], b[: grid.shape[1]] = grid
    quarter = n // 4  # quotients near the edges of the range
    with np.errstate(all="ignore"):
        for x, y, most in ((a, b, 150), (c, d, 1074)):
            scaled = np.ldexp(np.abs(x[-quarter:]), t.rng.integers(-most, most, quarter))
            y[-quarter:] = scaled * t.rng.uniform(0.5, 2, quarter).astype(x.dtype)
    o, p = np.zeros(n, np.float32), np.zeros(n)
    t("divide", blocks, 64, a, b, o, c, d, p)
    with np.errstate(all="ignore"):
        for found, x, y in ((o, a, b), (p, c, d)):
            expected = x / y
            wrong_zero = (found == 0) & (np.signbit(found) != np.signbit(expected))
            bad = (found != expected) & ~(np.isnan(found) & np.isnan(expected)) | wrong_zero
            examples = [(x[i], y[i], found[i], expected[i]) for i in np.flatnonzero(bad)[:3]]
            assert not bad.any(), f"{bad.sum()} of {n}: {examples}"

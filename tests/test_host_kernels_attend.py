"""Host attention against numpy: short and long contexts, windows, formats of the cache, chunks, batches."""

import platform

import numpy as np
import pytest
from host_kernels import CONTEXT, Kernel, pointer, segments_of

from hfc.backend.skeletons.attend.region import AttendRegion
from hfc.backend.spec import Bound
from hfc.formats import kv_format

SLOTS = 3


def attend(heads, kv_heads, size, window=0, softcap=0.0, form="f32", causal=True, sinks=False, slopes=False):
    args = [
        pointer("x0"),
        pointer("s1_k", "state", "uint8_t"),
        pointer("s2_v", "state", "uint8_t"),
        pointer("y3", written=True),
        pointer("w4", "weight"),
        pointer("w5", "weight"),
    ]
    region = AttendRegion(
        heads=heads, kv_heads=kv_heads, size=size, scale=size**-0.5, window=window, softcap=softcap, causal=causal, first=0, capacity=CONTEXT,
        q=f"x0[((size_t)row * {heads} + g) * {size} + j]", walsh=0, k=args[1], v=args[2], k_format=kv_format(form).sized(size),
        v_format=kv_format(form).sized(size), store=f"y3[((size_t)row * {heads} + g) * {size} + j] = y;",
        sink="w4[g]" if sinks else "", slope="w5[g]" if slopes else "",
    )  # fmt: skip
    return Bound("attend", "attend_test", tuple(args), "T", region)


def reference(q, k, v, segments, window, softcap, causal=True, sinks=None, slopes=None):
    rows, heads, size = q.shape
    out = np.zeros_like(q, np.float64)
    group = heads // k.shape[1]
    for s in segments:
        for i in range(s.rows):
            at = s.position + i
            first = max(0, at - window + 1) if window else 0
            last = at + 1 if causal else s.position + s.rows
            last = min(last, at + window) if window else last
            for h in range(heads):
                keys = k[s.slot, h // group, first:last].astype(np.float64)
                score = keys @ q[s.row + i, h] * size**-0.5
                if softcap:
                    score = softcap * np.tanh(score / softcap)
                if slopes is not None:
                    score -= slopes[h] * (at - np.arange(first, last))
                p = np.exp(score - score.max())
                sink = 0.0 if sinks is None else np.exp(sinks[h] - score.max())
                out[s.row + i, h] = p / (p.sum() + sink) @ v[s.slot, h // group, first:last]
    return out


class Case:
    """A kernel, caches of SLOTS lanes filled up to `filled` tokens (NaN behind), and queries."""

    def __init__(
        self,
        filled,
        heads=6,
        kv_heads=2,
        size=64,
        window=0,
        softcap=0.0,
        form="f32",
        causal=True,
        cpu="native",
        sinks=False,
        slopes=False,
    ):
        rng = np.random.default_rng(3)
        self.form, self.window, self.softcap, self.heads, self.size, self.causal = (
            kv_format(form).sized(size),
            window,
            softcap,
            heads,
            size,
            causal,
        )
        self.k, self.v = rng.standard_normal((2, SLOTS, kv_heads, CONTEXT, size), np.float32)
        self.k[:, :, filled:], self.v[:, :, filled:] = np.nan, np.nan
        self.raw = {"s1_k": self.form.pack(self.k), "s2_v": self.form.pack(self.v)}
        self.kernel = Kernel(attend(heads, kv_heads, size, window, softcap, form, causal, sinks, slopes), cpu)
        self.sinks = 2 * rng.standard_normal(heads, np.float32) if sinks else None
        self.slopes = 2.0 ** -rng.uniform(0, 8, heads).astype(np.float32) if slopes else None
        self.rng = rng

    def queries(self, rows):
        return self.rng.standard_normal((rows, self.heads, self.size), np.float32)

    def run(self, q, segments, threads=2):
        out = np.full_like(q, np.nan)
        vectors = {name: q if vector is None else vector for name, vector in (("w4", self.sinks), ("w5", self.slopes))}
        self.kernel({"x0": q, **self.raw, "y3": out, **vectors}, segments, threads)
        return out

    def expected(self, q, segments):
        return reference(
            q,
            self.form.stored(self.raw["s1_k"]),  # codes of rotated keys as they lie: the queries here are not rotated
            self.form.stored(self.raw["s2_v"]),
            segments,
            self.window,
            self.softcap,
            self.causal,
            self.sinks,
            self.slopes,
        )


@pytest.mark.parametrize("context", [1, 2, 127, 513, 4097])
@pytest.mark.parametrize("form", ["f32", "f16", "q8", "q4"])
def test_decode(context, form):
    check_decode(Case(context, form=form), context)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("cpu", ["native", "x86_64"])
@pytest.mark.parametrize("form", ["q8", "q4", "asym2", "asym3", "asym4", "fwht3"])
def test_rows_of_every_layout_with_and_without_wide_registers(form, cpu):
    if cpu != "native" and platform.machine() != "x86_64":
        pytest.skip("the other CPU's instructions do not run on this machine")
    check_decode(Case(129, size=96, form=form, cpu=cpu), 129)


def check_decode(case, context):
    segments = segments_of((1, context - 1))
    q = case.queries(1)
    y = case.run(q, segments)
    np.testing.assert_allclose(y, case.expected(q, segments), atol=2e-6)
    assert case.run(q, segments, threads=1).tobytes() == y.tobytes()


@pytest.mark.parametrize(
    "heads, kv_heads, size, window, softcap",
    [
        (4, 4, 16, 0, 0.0),
        (8, 1, 256, 0, 0.0),
        (9, 3, 64, 300, 0.0),
        # fmt: skip
        (4, 2, 24, 5, 0.0),
        (4, 2, 80, 0, 30.0),
        (3, 1, 128, 1, 0.0),
    ],
)
def test_shapes(heads, kv_heads, size, window, softcap):
    case = Case(620, heads, kv_heads, size, window, softcap)
    segments = segments_of((1, 600), (20, 600), (2, 1))
    q = case.queries(23)
    np.testing.assert_allclose(case.run(q, segments), case.expected(q, segments), atol=3e-6)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("form", ["f32", "q8", "asym4"])
def test_sinks(form):
    for window in (0, 300):
        case = Case(620, 9, 3, 64, window, form=form, sinks=True)
        for segments in (segments_of((1, 600), (20, 600), (2, 1)), segments_of((1, 619))):
            q = case.queries(sum(s.rows for s in segments))
            np.testing.assert_allclose(case.run(q, segments), case.expected(q, segments), atol=3e-6)


@pytest.mark.parametrize("form", ["f32", "q8", "asym4"])
@pytest.mark.parametrize("heads, kv_heads, size", [(9, 3, 64), (4, 4, 80), (3, 1, 264)])
def test_slopes(form, heads, kv_heads, size):
    """Keys lose by their distance: one row and many, over several chunks, in a window, beside sinks and a soft cap."""
    if form != "f32" and size % 64:
        pytest.skip("blocks of a cache are whole")
    for window, softcap, sinks in ((0, 0.0, False), (300, 20.0, True)):
        case = Case(620, heads, kv_heads, size, window, softcap, form=form, sinks=sinks, slopes=True)
        for segments in (
            segments_of((1, 600), (20, 600), (2, 1)),
            segments_of((1, 619)),
            segments_of((70, 0), (40, 300)),
        ):
            q = case.queries(sum(s.rows for s in segments))
            np.testing.assert_allclose(case.run(q, segments), case.expected(q, segments), atol=4e-6)


@pytest.mark.parametrize("window, position", [(0, 0), (0, 500), (6, 0), (6, 250), (300, 500)])
def test_rows_that_see_their_whole_segment(window, position):
    """Both the split (few rows) and the whole (many rows) order; keys behind the segment are NaN."""
    case = Case(position + 16, window=window, causal=False)
    segments = segments_of((16, position), (5, position), (2, 1))
    q = case.queries(23)
    np.testing.assert_allclose(case.run(q, segments), case.expected(q, segments), atol=3e-6)
    alone = segments_of((16, position))
    np.testing.assert_allclose(case.run(q[:16].copy(), alone), case.expected(q[:16], alone), atol=3e-6)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["f32", "f16", "q8", "asym3"])
def test_a_row_does_not_depend_on_its_company(form):
    """One row multiplies keys and values as they lie, many make them floats first."""
    case = Case(530, form=form)
    q = case.queries(24)
    whole = case.run(q, segments_of((24, 500)))
    for first, rows in ((0, 1), (23, 1), (3, 4), (10, 14), (5, 17)):
        some = case.run(q[first : first + rows].copy(), segments_of((rows, 500 + first)))
        assert some.tobytes() == whole[first : first + rows].tobytes()
    both = case.run(q, segments_of((9, 500), (15, 509), slots=(0, 0)), threads=1)
    assert both.tobytes() == whole.tobytes()

"""Host DeltaNet, convolution, routing and row-local kernels against the numpy meaning of the ops."""

import numpy as np
import pytest
from host_kernels import Kernel, pointer, segments_of

from hfc.backend.skeletons.conv.region import ConvRegion
from hfc.backend.skeletons.delta.region import DeltaRegion
from hfc.backend.skeletons.map.region import MapRegion, Task
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.spec import Bound, Stat
from hfc.formats import kv_format, weight_format
from hfc.ir.ops import OPS
from hfc.step import Segment, Step

SLOTS = 3


def step_of(segments):
    rows = sum(s.rows for s in segments)
    return Step(np.zeros(rows, np.int32), segments, np.arange(rows, dtype=np.int32))


def silu(x):
    return x / (1 + np.exp(-x))


class DeltaCase:
    def __init__(self, k_heads=2, v_heads=4, dk=32, dv=40, tiled=False, taps=4):
        self.k_heads, self.v_heads, self.dk, self.dv, self.tiled, self.taps = k_heads, v_heads, dk, dv, tiled, taps
        self.channels = 2 * k_heads * dk + v_heads * dv
        rng = self.rng = np.random.default_rng(5)
        self.conv = rng.standard_normal((self.channels, taps), np.float32) * 0.5
        c, vh = self.channels, v_heads
        names = [("x0", False), ("c1", False), ("x2", False), ("x3", False), ("s4", True), ("s5", True), ("y6", True)]
        args = [pointer(name, written=written) for name, written in names]
        stat = Stat("stat0", dv, "sum", "y[j] * y[j]", f"hfc_rsqrt(r / {dv}.0f + 1e-06f)")
        region = DeltaRegion(
            k_heads=k_heads, v_heads=vh, dk=dk, dv=dv, taps=taps, channels=c, tiled=tiled,
            u=f"x0[(size_t)row * {c} + j]", conv=args[1], activate="hfc_silu(c)", eps=1e-6, q_scale=dk**-0.5,
            decay=f"x2[(size_t)row * {vh} + g]", beta=f"hfc_sigmoid(x3[(size_t)row * {vh} + g])", window=args[4],
            memory=args[5], q0=0, k0=k_heads * dk, v0=2 * k_heads * dk, stats=(stat,),
            store=f"y6[((size_t)row * {vh} + g) * {dv} + j] = y[j] * stat0;", journal=None,
        )  # fmt: skip
        self.kernel = Kernel(Bound("delta", "delta_test", tuple(args), "T", region))

    def inputs(self, rows):
        rng = self.rng
        return (rng.standard_normal((rows, self.channels), np.float32), -rng.random((rows, self.v_heads), np.float32),
                rng.standard_normal((rows, self.v_heads), np.float32))  # fmt: skip

    def states(self):
        window = self.rng.standard_normal((SLOTS, self.channels, self.taps - 1), np.float32)
        return window, self.rng.standard_normal((SLOTS, self.v_heads, self.dk, self.dv), np.float32)

    def run(self, inputs, states, segments, threads=2):
        """-> output, new window, new memory"""
        u, decay, beta = inputs
        window, memory = (s.copy() for s in states)
        out = np.full((len(u), self.v_heads, self.dv), np.nan, np.float32)
        arrays = {"x0": u, "c1": self.conv, "x2": decay, "x3": beta, "s4": window, "s5": memory, "y6": out}
        self.kernel(arrays, segments, threads)
        return out, window, memory

    def expected(self, inputs, states, segments):
        u, decay, beta = inputs
        step = step_of(segments)
        y, window = OPS["causal_conv"].meaning(u, self.conv, states[0], step=step)
        y, cut = silu(y), self.k_heads * self.dk

        def keys(x):
            x = x.reshape(-1, self.k_heads, self.dk)
            return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)

        q, k = keys(y[:, :cut]) * np.float32(self.dk**-0.5), keys(y[:, cut : 2 * cut])
        v = y[:, 2 * cut :].reshape(-1, self.v_heads, self.dv)
        o, memory = OPS["linear_recurrence"].meaning(
            q, k, v, decay, 1 / (1 + np.exp(-beta)), states[1], delta=True, tiled=self.tiled, step=step
        )
        return o / np.sqrt((o * o).mean(-1, keepdims=True) + 1e-6), window, memory


@pytest.mark.parametrize(
    "shape", [{}, {"tiled": True}, {"dk": 128, "dv": 128, "v_heads": 2}, {"dk": 16, "dv": 8, "taps": 3}]
)
def test_delta(shape):
    case = DeltaCase(**shape)
    segments = segments_of((1, 7), (9, 0), (2, 3), slots=(2, 0, 1))
    inputs, states = case.inputs(12), case.states()
    states[0][0], states[1][0] = np.nan, np.nan  # a sequence that begins must not see what the slot held
    for got, want in zip(case.run(inputs, states, segments), case.expected(inputs, states, segments)):
        np.testing.assert_allclose(got, want, atol=2e-5, rtol=1e-4)


def test_delta_does_not_depend_on_chunks_neighbours_or_threads():
    case = DeltaCase()
    inputs, states = case.inputs(20), case.states()
    whole = case.run(inputs, states, segments_of((20, 0)), threads=1)
    parts, at = [], 0
    for rows in (1, 11, 8):
        out, *states = case.run([x[at : at + rows].copy() for x in inputs], states, segments_of((rows, at)))
        parts.append(out)
        at += rows
    assert np.concatenate(parts).tobytes() == whole[0].tobytes()
    assert states[0][0].tobytes() == whole[1][0].tobytes() and states[1][0].tobytes() == whole[2][0].tobytes()


@pytest.mark.parametrize("taps", [2, 4])
def test_conv(taps):
    channels, rng = 100, np.random.default_rng(6)
    args = [pointer("x0"), pointer("c1"), pointer("s2", written=True), pointer("y3", written=True)]
    region = ConvRegion(
        channels=channels, taps=taps, u=f"x0[(size_t)row * {channels} + j]", conv=args[1], window=args[2],
        store=f"y3[(size_t)row * {channels} + j] = c;", journal_rows=0, inputs_journal=None,
    )  # fmt: skip
    kernel = Kernel(Bound("conv", "conv_test", tuple(args), "T", region))
    segments = segments_of((5, 0), (1, 9), (3, 4))
    u, w = rng.standard_normal((9, channels), np.float32), rng.standard_normal((channels, taps), np.float32)
    window = rng.standard_normal((SLOTS, channels, taps - 1), np.float32)
    want, new = OPS["causal_conv"].meaning(u, w, window, step=step_of(segments))
    y = np.zeros_like(u)
    kernel({"x0": u, "c1": w, "s2": window, "y3": y}, segments)
    np.testing.assert_allclose(y, want, atol=1e-5)
    np.testing.assert_array_equal(window, new)


def test_conv_rows_that_wait():
    """Three rows wait, two of them count, then two more are applied: as four rows applied at once."""
    channels, taps, rng = 70, 3, np.random.default_rng(7)
    args = [
        pointer("x0"),
        pointer("c1"),
        pointer("s2", written=True),
        pointer("s3", written=True),
        pointer("y4", written=True),
    ]
    region = ConvRegion(
        channels=channels, taps=taps, u=f"x0[(size_t)row * {channels} + j]", conv=args[1], window=args[2],
        store=f"y4[(size_t)row * {channels} + j] = c;", journal_rows=4, inputs_journal=args[3],
    )  # fmt: skip
    kernel = Kernel(Bound("conv", "conv_waiting", tuple(args), "T", region))
    u, w = rng.standard_normal((4, channels), np.float32), rng.standard_normal((channels, taps), np.float32)
    window = rng.standard_normal((2, channels, taps - 1)).astype(np.float32)
    arrays = {"c1": w, "s2": window.copy(), "s3": np.full((2, 4, channels), np.nan, np.float32)}
    wrong = np.concatenate([u[:2], u[:1]])
    first, last, whole = np.zeros((3, channels), np.float32), np.zeros((2, channels), np.float32), np.zeros_like(u)
    kernel(arrays | {"x0": wrong, "y4": first}, (Segment(1, 0, 3, 5, commit=False),))
    assert arrays["s2"].tobytes() == window.tobytes()
    kernel(arrays | {"x0": u[2:].copy(), "y4": last}, (Segment(1, 0, 2, 7, replay=2),))
    plain = {"c1": w, "s2": window.copy(), "s3": arrays["s3"]}
    kernel(plain | {"x0": u, "y4": whole}, (Segment(1, 0, 4, 5),))
    assert (
        np.concatenate([first[:2], last]).tobytes() == whole.tobytes()
        and arrays["s2"].tobytes() == plain["s2"].tobytes()
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {"top": 5},
        {"top": 37, "normalize": False, "scale": 2.5},
        {"top": 5, "score": "sigmoid", "eps": 1e-20},
    ],
)
def test_route(attrs):
    experts, top = 37, attrs["top"]
    args = [pointer("x0"), pointer("y1", written=True), pointer("y2", ctype="int32_t", written=True)]
    region = RouteRegion(
        experts=experts,
        logits=f"x0[(size_t)row * {experts} + j]",
        weights=args[1],
        ids=args[2],
        **attrs,
    )
    logits = np.random.default_rng(7).standard_normal((6, experts), np.float32)
    logits[0] = 0.0  # all tie: the lower id wins
    weights, ids = np.zeros((6, top), np.float32), np.zeros((6, top), np.int32)
    Kernel(Bound("route", "route_test", tuple(args), "T", region))(
        {"x0": logits, "y1": weights, "y2": ids}, segments_of((6, 0))
    )
    want, chosen = OPS["route"].meaning(logits, **attrs)
    np.testing.assert_array_equal(ids, chosen)
    np.testing.assert_allclose(weights, want, rtol=1e-5)


def test_map_embeds_normalises_and_writes_the_cache():
    hidden, heads, size, context, rng = 96, 3, 32, 8, np.random.default_rng(8)
    form, cache_form = weight_format("q8_0"), kv_format("f16")
    raw = form.pack(rng.standard_normal((11, hidden), np.float32))
    args = [pointer("w0", "weight", "uint8_t"), pointer("y1", written=True), pointer("s2_k", "state", "uint8_t", True)]
    row_bytes, max_rows = form.row_bytes(hidden), 24
    embed = f"hfc_q8_0_at(w0 + (size_t)(step[4 + row]) * {row_bytes} + (j) / 32 * 34, (j) % 32)"
    x = embed.replace("(j)", f"(g * {size} + j)")
    stat = Stat("stat0", size, "sum", f"{x} * {x}", f"hfc_rsqrt(r / {size}.0f + 1e-05f)")
    place = f"(((size_t)step[{4 + 2 * max_rows} + row] * {heads} + g) * {context} + step[{4 + max_rows} + row]) * {2 * size}"
    tasks = [
        Task(1, hidden, (), f"y1[(size_t)row * {hidden} + j] = {embed};"),
        Task(heads, size, (stat,), f"hfc_kv_f16_put(s2_k + {place}, j, {x} * stat0);"),
    ]
    region = MapRegion(tasks=tuple(tasks), tables=(form,), caches=(cache_form,))
    tokens, segments = np.array([3, 10, 0, 5]), segments_of((3, 4), (1, 0), slots=(1, 0))
    y, cache = np.zeros((4, hidden), np.float32), np.zeros((2, heads, context, 2 * size), np.uint8)
    Kernel(Bound("map", "map_test", tuple(args), "T", region))(
        {"w0": raw, "y1": y, "s2_k": cache}, segments, tokens=tokens
    )
    want = form.unpack(raw)[tokens]
    np.testing.assert_array_equal(y, want)
    by_head = want.reshape(4, heads, size)
    by_head = by_head / np.sqrt((by_head**2).mean(-1, keepdims=True) + 1e-5)
    got = cache_form.unpack(cache)
    np.testing.assert_allclose(got[1, :, 4:7].transpose(1, 0, 2), by_head[:3], rtol=1e-3)
    np.testing.assert_allclose(got[0, :, 0], by_head[3], rtol=1e-3)
    assert not got[0, :, 1:].any() and not got[1, :, :4].any() and not got[1, :, 7:].any()

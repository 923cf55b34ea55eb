"""Host linear kernels against numpy: every weight format, odd shapes, rows alone and together, one thread and two."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from host_kernels import Kernel, pointer, segments_of

from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound, Stat
from hfc.formats import FORMATS, weight_format
from hfc.formats.tile import pack_tiles

CODED = sorted(name for name, form in FORMATS.items() if form.quantized)
PLAIN = ["f32", "f16", "bf16"]
CPU_FLAGS = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()


def random_weight(form, shape, seed=0):
    """Raw blocks with sensible scales, and their values."""
    rng = np.random.default_rng(seed)
    if form.encode or not form.quantized:
        raw = form.pack(rng.standard_normal(shape, np.float32))
    else:
        raw = rng.integers(0, 256, (*shape[:-1], form.row_bytes(shape[-1])), np.uint8)
        blocks = raw.reshape(-1, form.block_bytes)
        for field in form.fields:
            if field.dtype in ("f16", "f32"):
                at, kind = form.offsets[field.name], {"f16": np.float16, "f32": np.float32}[field.dtype]
                number = (rng.random((len(blocks), 1)) * 0.01 + 0.001).astype(kind)
                blocks[:, at : at + field.nbytes] = number.view(np.uint8)
    return raw, form.unpack(raw)


def linear(form_names, ns, k, zipped=False, name="linear_test"):
    args = [pointer("x")]
    parts = []
    for i, (form_name, n) in enumerate(zip(form_names, ns)):
        args.append(pointer(f"w{i}", "weight", "uint8_t", shape=(n, k), dtype=form_name))
        store = "" if zipped else f"y{i}[(size_t)row * {n} + n] = y;"
        parts.append(Matrix(args[-1], weight_format(form_name), n, store))
    outputs = 1 if zipped else len(ns)
    args += [pointer(f"{'out' if zipped else 'y'}{i}", written=True) for i in range(outputs)]
    region = LinearRegion(
        k=k, parts=tuple(parts), zipped=zipped, load=f"x[(size_t)row * {k} + j]", rotate=0, stats=(), top=0, experts=None,
        store=f"out0[(size_t)row * {ns[0]} + n] = hfc_silu(y0) * y1;" if zipped else "",
    )  # fmt: skip
    return Bound("linear", name, tuple(args), "T", region)


def run(kernel, x, packed, ns, threads=2):
    rows = len(x)
    arrays = {"x": x, **{f"w{i}": w for i, w in enumerate(packed)}}
    outputs = {
        a.name: np.full((rows + 1, n), np.nan, np.float32) for a, n in zip(kernel.bound.args[1 + len(packed) :], ns)
    }
    kernel({**arrays, **outputs}, segments_of((rows, 0)), threads)
    assert all(np.isnan(y[rows:]).all() for y in outputs.values()), "wrote behind the last row"
    return [y[:rows] for y in outputs.values()]


def error(y, expected):
    return np.linalg.norm(y - expected) / np.linalg.norm(expected)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("form_name", CODED + PLAIN)
def test_every_format(form_name):
    form = weight_format(form_name)
    k, n = max(form.block, 32) * 3 if form.quantized else 97, 37
    raw, w = random_weight(form, (n, k))
    kernel = Kernel(linear([form_name], [n], k))
    packed = pack_tiles(form, raw, (n, k))
    x = np.random.default_rng(1).standard_normal((17, k), np.float32)
    (y,) = run(kernel, x, [packed], [n])
    assert error(y, x @ w.T) < (2e-4 if form.quantized else 1e-6)
    for rows in (1, 3, 8):
        for threads in (1, 2):
            (some,) = run(kernel, x[2 : 2 + rows].copy(), [packed], [n], threads)
            assert some.tobytes() == y[2 : 2 + rows].tobytes(), "a row's result depends on its company"


def test_parts_of_different_formats_share_the_input():
    k, names, ns = 256, ["q4_k", "q6_k", "bf16", "q4_1"], [40, 16, 5, 48]
    weights = [random_weight(weight_format(f), (n, k), i) for i, (f, n) in enumerate(zip(names, ns))]
    packed = [pack_tiles(weight_format(f), raw, (n, k)) for f, n, (raw, _) in zip(names, ns, weights)]
    x = np.random.default_rng(1).standard_normal((5, k), np.float32)
    for y, (_, w) in zip(run(Kernel(linear(names, ns, k)), x, packed, ns), weights):
        assert error(y, x @ w.T) < 2e-4


def test_zipped_parts():
    k, n = 96, 50
    weights = [random_weight(weight_format(f), (n, k), i) for i, f in enumerate(("q4_0", "q8_0"))]
    packed = [pack_tiles(weight_format(f), raw, (n, k)) for f, (raw, _) in zip(("q4_0", "q8_0"), weights)]
    x = np.random.default_rng(1).standard_normal((9, k), np.float32) * 0.1
    (y,) = run(Kernel(linear(["q4_0", "q8_0"], [n, n], k, zipped=True)), x, packed, [n])
    gate, up = (x @ w.T for _, w in weights)
    assert error(y, gate / (1 + np.exp(-gate)) * up) < 3e-4


def test_norm_before_and_residual_after():
    k, n, form = 100, 33, weight_format("f32")
    raw, w = random_weight(form, (n, k))
    bound = linear(["f32"], [n], k)
    stat = Stat(
        "stat0", k, "sum", f"x[(size_t)row * {k} + j] * x[(size_t)row * {k} + j]", f"hfc_rsqrt(r / {k}.0f + 1e-06f)"
    )
    part = Matrix(bound.args[1], form, n, f"y0[(size_t)row * {n} + n] = y + z[(size_t)row * {n} + n];")
    region = replace(bound.region, stats=(stat,), load=f"(x[(size_t)row * {k} + j] * stat0)", parts=(part,))
    bound = replace(bound, args=(*bound.args, pointer("z")), region=region)
    x = np.random.default_rng(1).standard_normal((4, k), np.float32)
    z = np.random.default_rng(2).standard_normal((4, n), np.float32)
    y = np.zeros((4, n), np.float32)
    Kernel(bound)({"x": x, "w0": pack_tiles(form, raw, (n, k)), "y0": y, "z": z}, segments_of((4, 0)))
    normed = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, normed @ w.T + z, atol=1e-4)


def test_outliers_and_bad_numbers():
    k, n = 64, 16
    raw, w = random_weight(weight_format("q8_0"), (n, k))
    packed = pack_tiles(weight_format("q8_0"), raw, (n, k))
    x = np.random.default_rng(1).standard_normal((6, k), np.float32)
    x[0, 5], x[1], x[2, 40], x[3, 7] = 1000.0, 0.0, np.nan, np.inf
    (y,) = run(Kernel(linear(["q8_0"], [n], k)), x, [packed], [n])
    assert error(y[0], w @ x[0]) < 2e-4 and error(y[4:], x[4:] @ w.T) < 2e-4
    assert not y[1].any()
    assert np.isnan(y[2:4]).all(), "a NaN or infinity must not become a number"


@pytest.mark.parametrize("shared", [True, False])
def test_experts(shared):
    """shared: all choices of a token read its one row; else each choice has a row of its own."""
    k, n, count, top, tokens = 64, 24, 5, 3, 7
    form, rng = weight_format("q8_0"), np.random.default_rng(4)
    raw, w = random_weight(form, (count, n, k))
    ids = np.array([rng.permutation(count)[:top] for _ in range(tokens)], np.int32)
    ids[ids == 2] = 4  # one expert stays idle, one is chosen twice by some tokens
    bound = linear(["q8_0"], [n], k)
    weight, chosen = (
        pointer("w0", "weight", "uint8_t", shape=(count, n, k), dtype="q8_0"),
        pointer("ids", ctype="int32_t"),
    )
    place = f"(size_t)(row / {top}) * {k} + j" if shared else f"(size_t)row * {k} + j"
    part = Matrix(weight, form, n, f"y0[(size_t)row * {n} + n] = y;")
    region = replace(bound.region, parts=(part,), top=top, experts=chosen, expert_count=count, load=f"x[{place}]")
    bound = replace(bound, args=(bound.args[0], weight, *bound.args[2:], chosen), region=region)
    x = rng.standard_normal((tokens, k) if shared else (tokens, top, k), np.float32)
    y = np.full((tokens, top, n), np.nan, np.float32)
    kernel, packed = Kernel(bound), pack_tiles(form, raw, (count, n, k))
    kernel({"x": x, "w0": packed, "y0": y, "ids": ids}, segments_of((tokens, 0)))
    inputs = np.broadcast_to(x[:, None], (tokens, top, k)) if shared else x
    assert error(y, np.einsum("tsk,tsnk->tsn", inputs, w[ids])) < 2e-4
    alone = np.full((1, top, n), np.nan, np.float32)
    kernel({"x": x[3:4].copy(), "w0": packed, "y0": alone, "ids": ids[3:4].copy()}, segments_of((1, 0)), threads=1)
    assert alone.tobytes() == y[3:4].tobytes()


MACHINES = {"x86_64_v4": "avx512bw", "alderlake": "avx_vnni", "x86_64_v3": "avx2", "x86_64": "sse2"}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("cpu, needs", MACHINES.items())
@pytest.mark.parametrize("form_name", ["q4_1", "q8_0", "q5_0", "q6_k", "iq4_nl", "f16"])
def test_lesser_machines_agree(cpu, needs, form_name):
    """Wide and narrow machines compute the same whole numbers; sums differ by fused multiply-add alone."""
    if needs not in CPU_FLAGS:
        pytest.skip(f"this CPU has no {needs}")
    form = weight_format(form_name)
    k, n = max(form.block, 32) * 3 if form.quantized else 97, 37
    raw, w = random_weight(form, (n, k))
    x = np.random.default_rng(1).standard_normal((7, k), np.float32)
    packed = pack_tiles(form, raw, (n, k))
    (y,) = run(Kernel(linear([form_name], [n], k), cpu), x, [packed], [n])
    (native,) = run(Kernel(linear([form_name], [n], k)), x, [packed], [n])
    assert error(y, x @ w.T) < 2e-4
    assert error(y, native) < 3e-6


def test_one_plane_is_eight_bits():
    form = weight_format("q4_0")
    raw, w = random_weight(form, (32, 256))
    x = np.random.default_rng(1).standard_normal((4, 256), np.float32)
    (y,) = run(Kernel(linear(["q4_0"], [32], 256), planes=1), x, [pack_tiles(form, raw, (32, 256))], [32])
    assert 1e-3 < error(y, x @ w.T) < 1e-2

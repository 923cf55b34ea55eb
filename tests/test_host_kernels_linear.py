"""Host linear kernels against numpy: every weight format, odd shapes, rows alone and together, one thread and two."""

import numpy as np
import pytest
from host_kernels import Kernel, pointer, segments_of

from hfc.backend.spec import Bound, Part, Stat
from hfc.formats import FORMATS, weight_format
from hfc.formats.tile import pack_tiles

CODED = sorted(name for name, form in FORMATS.items() if form.quantized)
PLAIN = ["f32", "f16", "bf16"]


def random_weight(form, shape, seed=0):
    """Raw blocks with sensible scales, and their values."""
    rng = np.random.default_rng(seed)
    if form.encode or not form.quantized:
        raw = form.pack(rng.standard_normal(shape, np.float32))
    else:
        raw = rng.integers(0, 256, (*shape[:-1], form.row_bytes(shape[-1])), np.uint8)
        blocks = raw.reshape(-1, form.block_bytes)
        for field in form.fields:
            if field.dtype == "f16":
                at = form.offsets[field.name]
                blocks[:, at : at + 2] = (rng.random((len(blocks), 1)) * 0.01 + 0.001).astype(np.float16).view(np.uint8)
    return raw, form.unpack(raw)


def linear(form_names, ns, k, zipped=False, name="linear_test"):
    args = [pointer("x")]
    parts = []
    for i, (form_name, n) in enumerate(zip(form_names, ns)):
        args.append(pointer(f"w{i}", "weight", "uint8_t", shape=(n, k), dtype=form_name))
        store = "" if zipped else f"y{i}[(size_t)row * {n} + n] = y;"
        parts.append(Part(args[-1], weight_format(form_name), n, store))
    outputs = 1 if zipped else len(ns)
    args += [pointer(f"{'out' if zipped else 'y'}{i}", written=True) for i in range(outputs)]
    extra = {
        "k": k, "parts": parts, "zipped": zipped, "load": f"x[(size_t)row * {k} + j]", "stats": (), "top": 0, "experts": None,
        "store": f"out0[(size_t)row * {ns[0]} + n] = hfc_silu(y0) * y1;" if zipped else "",
    }  # fmt: skip
    return Bound("linear", name, args, "T", extra)


def run(kernel, x, packed, ns, threads=2):
    rows = len(x)
    arrays = {"x": x, **{f"w{i}": w for i, w in enumerate(packed)}}
    outputs = {a.name: np.full((rows + 1, n), np.nan, np.float32) for a, n in zip(kernel.bound.args[1 + len(packed) :], ns)}
    kernel({**arrays, **outputs}, segments_of((rows, 0)), threads)
    assert all(np.isnan(y[rows:]).all() for y in outputs.values()), "wrote behind the last row"
    return [y[:rows] for y in outputs.values()]


def error(y, expected):
    return np.linalg.norm(y - expected) / np.linalg.norm(expected)


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

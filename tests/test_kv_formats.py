"""Quantized KV rows: the C writer and loader against numpy, the levels against theory, and whole models on the host."""

import ctypes
import json
import re

import numpy as np
import pytest
from small_models import CONFIGS
from test_formats_c import CONVERSIONS, address
from test_quantize import TOKENS, write_model

from hfc.backend.compile import compile_all
from hfc.backend.gpu import list_launches
from hfc.backend.lanes.kv_rows import row_of, row_source
from hfc.base.diagnostics import HfcError
from hfc.base.zig import compile_c
from hfc.compiler import CompileOptions, compile_model, emit_model, open_source, outline, settings_for
from hfc.formats import KV_FORMATS
from hfc.oracle import InterpretedModel
from hfc.passes.choose_kv import choose_kv
from hfc.passes.pipeline import run_passes
from hfc.runtime.executor import load
from hfc.step import Step
from hfc.target.arch import find_arch
from hfc.workbench.remade import kv_of

MORE = """
static float hfc_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
static uint32_t hfc_f32_to_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
"""
QUANTIZED = sorted(name for name, form in KV_FORMATS.items() if not form.scalar)
HEADS = (64, 128, 256)


def entry(name: str, head: int) -> str:
    """Writes and reads one row as the map and attention kernels do."""
    form = KV_FORMATS[name].sized(head)
    row = row_of(form)
    size, units = form.group(head), len(row.unit)
    rotated = f"hfc_kv_{name}_rotate_pair(d, x[d], x[d ^ 1])" if form.rotates_pairs else "x[d]"
    lines = [
        row_source(form, "static"),
        f"static float element(const float* x, int d) {{ return {rotated}; }}",
    ]
    lines += ["void run(const float* x, uint8_t* row, float* out) {", f"for (int g = 0; g < {head // size}; g++) {{"]
    names = {}
    for i, stat in enumerate(row.stats):
        start, join = ("0.0f", "r += e;") if stat.reduce == "sum" else ("-1e30f", "r = e > r ? e : r;")
        e = stat.element.format(x=f"element(x, g * {size} + j)", **names)
        lines.append(
            f"float s{i}; {{ float r = {start}; for (int j = 0; j < {size}; j++) {{ const float e = {e}; {join} }}"
        )
        lines.append(f"s{i} = {stat.finish.format(**names)}; }}")
        names[f"s{i}"] = f"s{i}"
    values = ", ".join([*(f"element(x, g * {size} + ({j}))" for j in row.unit), *names])
    lines.append(f"for (int j = 0; j < {size // units}; j++) hfc_kv_{name}_put(row, g, j, {values}); }}")
    lines.append(f"for (int d = 0; d < {head}; d++) out[d] = hfc_kv_{name}_at(row, d); }}")
    return CONVERSIONS + MORE + "\n".join(lines)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", QUANTIZED)
def test_c_rows_equal_numpy(name, head, tmp_path):
    (tmp_path / "kv.c").write_text(entry(name, head))
    flags = ("-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-ffp-contract=off", "-shared", "-fPIC")
    message = compile_c(tmp_path / "kv.c", tmp_path / "kv.so", flags)
    assert not message, message
    library, form = ctypes.CDLL(str(tmp_path / "kv.so")), KV_FORMATS[name].sized(head)
    rng = np.random.default_rng(12)
    for scale in (0, 1, 1e-4, 300):
        x = (rng.standard_normal(head) * scale).astype(np.float32)
        row, found = np.zeros(form.row_bytes(head), np.uint8), np.empty(head, np.float32)
        source = form.rotate(x) if form.walsh else x  # kernels mix the vector before
        library.run(address(source), address(row), address(found))
        assert np.allclose(found, form.stored(row), rtol=1e-6, atol=1e-7 * scale)
        expected = form.pack(x)
        # a sum in another order moves the f32 norm by some ulps, and a code over a threshold
        first = 4 if form.rotates_pairs or form.walsh else 0
        assert (row[first:] == expected[first:]).mean() > 0.98 or scale == 0
        assert np.allclose(form.stored(expected), found, atol=0.02 * scale)


# Relative error of normally distributed vectors. Lloyd-Max: sqrt of the distortion of 16, 8 and 4 levels (Max 1960).
@pytest.mark.parametrize(
    "name, most",
    [
        ("q8", 0.006),
        ("q4", 0.085),
        ("asym4", 0.1),
        ("asym3", 0.19),
        ("asym2", 0.35),
        ("fwht4", 0.1),
        ("fwht3", 0.19),
        ("fwht2", 0.35),
    ],
)
@pytest.mark.parametrize("head", HEADS)
def test_errors_are_those_of_theory(name, most, head):
    x = np.random.default_rng(13).standard_normal((300, head)).astype(np.float32)
    form = KV_FORMATS[name]
    assert np.linalg.norm(form.unpack(form.pack(x)) - x) / np.linalg.norm(x) < most


@pytest.mark.parametrize(
    "bits, thresholds",
    [
        (2, [0.086744]),
        (3, [0.043589, 0.091775, 0.154258]),
        # fmt: skip
        (4, [0.022760, 0.046139, 0.070622, 0.097139, 0.127014, 0.162944, 0.212220]),
    ],
)
def test_levels_lie_between_the_published_thresholds(bits, thresholds):
    """turbo_common.h gives the midpoints for a variance of 1/128; for heads of 256 they are 1/√2 of that, at every width."""
    for head in (128, 256):
        levels = KV_FORMATS[f"asym{bits}"].levels(head)
        middles = ((levels[1:] + levels[:-1]) / 2)[len(levels) // 2 :]
        assert np.allclose(middles, np.array(thresholds) * np.sqrt(128 / head), atol=3e-5)


def test_a_token_takes_the_published_bytes():
    sizes = {
        name: KV_FORMATS[name].row_bytes(256) + KV_FORMATS["q8"].row_bytes(256)
        for name in ("q8", "asym4", "asym3", "asym2")
    }
    assert all(KV_FORMATS[f"fwht{b}"].row_bytes(256) == KV_FORMATS[f"asym{b}"].row_bytes(256) for b in (2, 3, 4))
    assert sizes == {"q8": 544, "asym4": 404, "asym3": 372, "asym2": 340}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("source") / "qwen", "qwen3_5_text")


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kv", ["q8", "q8/q4", "f16/q8", "asym4", "asym3/f16", "asym2", "fwht4", "fwht3", "fwht2/q4"])
def test_models_on_the_host_equal_the_interpreter_with_the_same_cache(kv, qwen):
    opened = open_source(qwen)
    fused = run_passes(opened.graph(), settings_for(opened, find_arch("host"), CompileOptions(kv=kv, ctx=64)))
    expected = InterpretedModel(opened, 64, graph=fused).forward(Step.single(TOKENS[:32]))
    model = load(compile_model(qwen, ["host"], CompileOptions(kv=kv, ctx=64)), "host", 2)
    whole = model.forward(Step.single(TOKENS[:32]))
    # A code that flips at a threshold moves a key by one level; a wrong turn or layout gives more than 0.3.
    assert np.linalg.norm(whole - expected) / np.linalg.norm(expected) < (0.02 if kv[:4] in ("asym", "fwht") else 2e-3)
    parts = [model.forward(Step.single(TOKENS[at : at + 5], position=at)) for at in range(0, 30, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[:30])


@pytest.mark.parametrize(
    "kv, message",
    [
        ("f16/asym3", "values cannot lie in asym3"),
        ("fwht4/fwht4", "values cannot lie in fwht4"),
        ("q9", "unknown KV format 'q9'"),
    ],
)
def test_caches_that_make_no_sense_are_refused(kv, message, qwen):
    with pytest.raises(HfcError, match=message):
        compile_model(qwen, ["host"], CompileOptions(kv=kv, ctx=64))


def test_mixing_spreads_what_turning_pairs_leaves():
    """Keys with a few large elements, as RoPE makes them: all directions alike is what the levels are made for."""
    x = np.random.default_rng(14).standard_normal((200, 256)).astype(np.float32)
    x[:, :6] *= 12
    error = {name: np.linalg.norm(KV_FORMATS[name].unpack(KV_FORMATS[name].pack(x)) - x) for name in ("asym3", "fwht3")}
    assert error["fwht3"] < 0.75 * error["asym3"]


def test_head_sizes_that_do_not_fit_are_refused(tmp_path):
    source = write_model(tmp_path, head_dim=24)
    for kv in ("q8", "q4"):
        with pytest.raises(HfcError, match=f"KV format {kv}: heads of 24"):
            compile_model(source, ["host"], CompileOptions(kv=kv, ctx=64))


def test_layers_at_the_edges_stay_in_q8(tmp_path):
    """--kv fwht3@1+2: of four layers the second alone is in fwht3, as `hfc selftest` finds out from the plan; bytes follow."""
    source = open_source(write_model(tmp_path / "source", num_hidden_layers=4))
    settings = settings_for(source, find_arch("host"), CompileOptions(kv="fwht3@1+2", ctx=64))
    formats = [
        (op.attrs["k_format"], op.attrs["v_format"]) for op in choose_kv(source.graph(), settings).ops_of("state")
    ]
    assert formats == [("q8", "q8"), ("fwht3", "q8"), ("q8", "q8"), ("q8", "q8")]
    plan = outline(source, settings)
    assert kv_of(plan, set()) == ("fwht3", "q8", (1, 2))
    assert kv_of(outline(source, settings_for(source, find_arch("host"), CompileOptions(kv="q8", ctx=64))), set()) == (
        "q8",
        "q8",
        (0, 0),
    )
    expected = InterpretedModel(source, 64, graph=run_passes(source.graph(), settings)).forward(
        Step.single(TOKENS[:32])
    )
    found = load(
        compile_model(tmp_path / "source", ["host"], CompileOptions(kv="fwht3@1+2", ctx=64)), "host", 2
    ).forward(Step.single(TOKENS[:32]))
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.02


@pytest.mark.parametrize("kv, message", [("fwht3@2", "'2' does not count layers"), ("q4@", "'' does not count layers"),
                                         ("fwht3@1+1", r"@1\+1: the model has 1 attention layers")])  # fmt: skip
def test_edges_that_make_no_sense_are_refused(kv, message, qwen):
    with pytest.raises(HfcError, match=message):
        compile_model(qwen, ["host"], CompileOptions(kv=kv, ctx=64))


def test_a_size_is_chosen_for_every_key():
    """A few large elements are not clipped: with one size of the levels asym4 leaves half as much error again."""
    x = np.random.default_rng(15).standard_normal((200, 256)).astype(np.float32)
    x[:, :6] *= 8
    form = KV_FORMATS["asym4"]
    levels, rotated = form.levels(256), form.rotate(x)
    length = np.linalg.norm(rotated, axis=1, keepdims=True)
    codes = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, rotated / length)]
    one_size = codes / np.linalg.norm(codes, axis=1, keepdims=True) * length
    assert np.linalg.norm(form.stored(form.pack(x)) - rotated) < 0.7 * np.linalg.norm(one_size - rotated)


@pytest.mark.parametrize("kv", ["q8", "q4", "asym3"])
def test_what_writes_a_cache_on_nvidia_stores_no_byte_out_of_a_half(kv, tmp_path):
    """q8 did, of the values of asym caches too: scales lost their low byte on a card, a tenth of every value (the gate "halves")."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIGS["llama"], "head_dim": 64, "model_type": "llama"}))
    opened, jobs = open_source(path), {}
    settings = settings_for(opened, find_arch("sm_90"), CompileOptions(ctx=64, kv=kv))
    list_launches(emit_model(opened, settings), settings, jobs)
    written = [job for job in jobs.values() if re.search(r"hfc_kv_\w+_put\(", job.source.split('extern "C"')[1])]
    assert written
    for made in compile_all(written):
        assert "cvt.rn.f16.f32" in made.assembly

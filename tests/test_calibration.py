"""hfc quantize --imatrix, --awq, --gptq: the arithmetic of each, scales that change nothing but rounding, and whole models."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from test_cli import bundle, folder, hfc  # noqa: F401  (fixtures)
from test_quantize import TOKENS, converted, distance, interpreted, write_model

from hfc.calibrate.collect import collect, importances
from hfc.calibrate.fold import folds
from hfc.calibrate.gptq import pack_linears
from hfc.calibrate.prepare import _giving, by_importance, with_scales
from hfc.compiler import open_source
from hfc.formats import FORMATS
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.rotation import rotate
from hfc.quantize.convert import plan, quantize
from hfc.quantize.feedback import DAMPING, factor, pack_with_feedback, rotated_diagonal
from hfc.quantize.treatment import UNTREATED, Treatment

RNG = np.random.default_rng(21)
WEIGHTED = ["hfc4", "hfq4g256", "hfq4g256v2", "hfq3g256", "mq6g256v2", "q4_0", "q4_1", "q5_0", "q5_1"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("source") / "llama")


def related_inputs(k: int, rows: int = 2000) -> np.ndarray:
    """Inputs of which some are large and many go together, as a network's are."""
    mixed = RNG.standard_normal((rows, k // 8)) @ RNG.standard_normal((k // 8, k)) + RNG.standard_normal((rows, k))
    return (mixed * np.exp(RNG.normal(0, 0.7, k))).astype(np.float32)


def output_error(form, raw, w, x) -> float:
    return float(np.linalg.norm(x @ (form.unpack(raw) - w).T) / np.linalg.norm(x @ w.T))


@pytest.mark.parametrize("name", WEIGHTED)
def test_importance_lessens_the_error_where_it_counts(name):
    form = FORMATS[name]
    w, importance = (
        RNG.standard_normal((24, 512)).astype(np.float32),
        np.exp(RNG.normal(0, 1.5, 512)).astype(np.float32),
    )
    error = [(((form.unpack(raw) - w) ** 2) * importance).sum() for raw in (form.pack(w), form.pack(w, importance))]
    assert error[1] < 0.9 * error[0]
    ways = form.pack(w), form.pack(w, search=True), form.pack(w, np.ones(512, np.float32))
    plain, searched, longer = (((form.unpack(raw) - w) ** 2).sum() for raw in ways)
    assert searched <= 1.001 * plain and longer <= 1.001 * searched, (
        "the search never does worse than the plain encoder"
    )


def test_the_factor_is_that_of_the_inverse():
    x = related_inputs(64)
    hessian = x.T @ x / len(x)
    upper = factor(hessian).astype(np.float64)
    assert not np.tril(upper, -1).any()
    damped = hessian + DAMPING * np.trace(hessian) / 64 * np.eye(64)
    assert np.allclose(upper.T @ upper @ damped, np.eye(64), atol=1e-3)
    assert np.isfinite(factor(np.zeros((8, 8), np.float32))).all(), "inputs that are always zero"


@pytest.mark.parametrize("name", ["hfc4", "hfq4g256v2", "mq4g256v2", "mq3g256", "q5_0", "q4_1", "hfp4b256"])
def test_feedback_lessens_the_error_of_the_outputs(name):
    form = FORMATS[name]
    x, w = related_inputs(512), RNG.standard_normal((40, 512)).astype(np.float32)
    if form.rotated:
        x, w = rotate(x), rotate(w)
    raw = pack_with_feedback(form, w, factor(x.T @ x / len(x)))
    assert output_error(form, raw, w, x) < 0.75 * output_error(form, form.pack(w), w, x)


@pytest.mark.parametrize("name", ["hfq4g256v2", "mq6g256", "hfc4"])
def test_feedback_of_unrelated_inputs_is_plain_rounding(name):
    form, w = FORMATS[name], RNG.standard_normal((8, 512)).astype(np.float32)
    raw = pack_with_feedback(form, w, factor(np.eye(512, dtype=np.float32)))
    assert np.allclose(form.unpack(raw), form.unpack(form.pack(w, np.ones(512, np.float32))), rtol=1e-5, atol=1e-5)


def test_an_imatrix_helps_rotated_formats():
    form, w = FORMATS["mq4g256v2"], RNG.standard_normal((24, 512)).astype(np.float32)
    scale = np.exp(RNG.normal(0, 1.5, 512)).astype(np.float32)
    x = RNG.standard_normal((2000, 512)).astype(np.float32) * scale
    found = Treatment(importance=(scale**2)[None]).packed(form, w, 0, 24)
    assert output_error(form, found, rotate(w), rotate(x)) < 0.8 * output_error(
        form, form.pack(rotate(w)), rotate(w), rotate(x)
    )
    blocks = rotated_diagonal(scale**2, 256)
    assert np.allclose(blocks[1], rotate(rotate(np.diag(scale[256:] ** 2)).T), atol=1e-3)


def test_importance_of_experts_goes_with_their_rows():
    importance = np.stack([np.full(256, 1.0), np.r_[np.full(128, 100.0), np.full(128, 0.01)]]).astype(np.float32)
    form, w = FORMATS["hfq3g256"], RNG.standard_normal((12, 256)).astype(np.float32)  # two experts of 6 rows
    treatment = Treatment(importance=importance)
    pieces = [treatment.packed(form, w[start:stop], start, 6) for start, stop in ((0, 4), (4, 9), (9, 12))]
    assert np.array_equal(
        np.concatenate(pieces), np.concatenate([form.pack(w[:6], importance[0]), form.pack(w[6:], importance[1])])
    )


@pytest.mark.parametrize(
    "model_type, count", [("llama", 6), ("gemma3_text", None), ("qwen3_5_text", None), ("qwen3_5_moe_text", None)]
)
def test_scales_at_every_fold_change_nothing_but_rounding(model_type, count, tmp_path):
    source = write_model(tmp_path / "source", model_type)
    places, treatments = folds(open_source(source)), {}
    assert places and (count is None or len(places) == count)
    with open_checkpoint(source) as checkpoint:
        for fold in places:
            scale = np.exp(RNG.normal(0, 0.5, checkpoint.info(fold.readers[0]).shape[-1])).astype(np.float32)
            for name in fold.readers:
                old = treatments.get(name, UNTREATED)
                treatments[name] = Treatment(columns=scale, rows=old.rows)
            treatments[fold.producer] = _giving(
                treatments.get(fold.producer, UNTREATED), fold, scale, checkpoint.info(fold.producer).shape
            )
        made = plan(checkpoint, "f32", [("*", "f32")], treatments=treatments)
        quantize(checkpoint, made, tmp_path / "out", treatments=treatments)
        name = places[0].readers[0]
        assert not np.allclose(open_checkpoint(tmp_path / "out").f32(name), checkpoint.f32(name), rtol=0.01)
    assert distance(interpreted(tmp_path / "out"), interpreted(source)) < 1e-4


def test_norms_that_take_scales_are_stored_in_full(tmp_path):
    """A bf16 norm would round its scale; so it becomes f32."""
    source = write_model(tmp_path / "source")
    with safe_open(source / "model.safetensors", "np") as file:
        floats = {name: file.get_tensor(name) for name in file.keys()}
    header, data = {}, b""
    for name, x in floats.items():
        start, data = len(data), data + (x.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": x.shape, "data_offsets": [start, len(data)]}
    head = json.dumps(header).encode()
    (source / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    opened = open_source(source)
    given = by_importance(importances(opened, collect(opened, [TOKENS]), ""))
    with open_checkpoint(source) as checkpoint:
        made = plan(checkpoint, "hfq3g256")
        scaled = with_scales(checkpoint, {t.name: t.format for t in made.tensors}, given, folds(opened))
        assert any(t.columns is not None for t in scaled.values()) and scaled.keys() > given.keys()
        formats = {t.name: t.format for t in plan(checkpoint, "hfq3g256", treatments=scaled).tensors}
    for fold in folds(opened):
        if fold.first_row is None and scaled[fold.readers[0]].columns is not None:
            assert formats[fold.producer] == "f32"
            assert np.allclose(scaled[fold.producer].columns * scaled[fold.readers[0]].columns, 1)
    assert formats["model.norm.weight"] == "bf16"


def calibrated(source, target, format, gptq=False, awq=False, imatrix=False):
    opened = open_source(source)
    with open_checkpoint(source) as checkpoint:
        formats = {t.name: t.format for t in plan(checkpoint, format).tensors}
        treatments = by_importance(importances(opened, collect(opened, [TOKENS]), "")) if imatrix or awq else {}
        if awq:
            treatments = with_scales(checkpoint, formats, treatments, folds(opened))
        made = plan(checkpoint, format, treatments=treatments)
        first = (lambda put: pack_linears(opened, [TOKENS], formats, treatments, put)) if gptq else None
        return quantize(checkpoint, made, target, treatments=treatments, first=first)


MODELS = [
    ("llama", "mq4g256v2"),
    pytest.param("qwen3_5_text", "hfc4", marks=pytest.mark.long),
    pytest.param("qwen3_5_moe_text", "mq3g256v2", marks=pytest.mark.long),
]


@pytest.mark.parametrize("model_type, format", MODELS)
def test_models_come_nearer_to_their_source(model_type, format, tmp_path):
    source = write_model(tmp_path / "source", model_type)
    converted(source, tmp_path / "plain", format)
    expected = interpreted(source)
    plain = distance(interpreted(tmp_path / "plain"), expected)
    for way in ({"gptq": True}, {"gptq": True, "awq": True}):
        calibrated(source, tmp_path / "out", format, **way)
        assert distance(interpreted(tmp_path / "out"), expected) < plain, way
    again = calibrated(source, tmp_path / "again", format, gptq=True, awq=True).read_bytes()
    assert again == (tmp_path / "out/model.safetensors").read_bytes(), "another file the second time"


def test_a_rotated_source_can_be_calibrated(llama, tmp_path):
    converted(llama, tmp_path / "mq8", "mq8g256")
    calibrated(tmp_path / "mq8", tmp_path / "out", "mq4g256v2", gptq=True, awq=True)
    converted(tmp_path / "mq8", tmp_path / "plain", "mq4g256v2")
    expected = interpreted(tmp_path / "mq8")
    assert distance(interpreted(tmp_path / "out"), expected) < distance(interpreted(tmp_path / "plain"), expected)


def test_commands(hfc, folder, tmp_path):  # noqa: F811
    source = write_model(tmp_path / "source", vocab_size=json.loads((folder / "config.json").read_text())["vocab_size"])
    (source / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert hfc("imatrix", source, "-o", tmp_path / "m.gguf", "-n", 100)[0] == 0
    words = ("--gptq", "--awq", "--imatrix", tmp_path / "m.gguf", "-n", 100, "--eval", 64)
    code, out, err = hfc("quantize", source, "--format", "mq4g256v2", "-o", tmp_path / "out", *words)
    assert code == 0, err
    found = json.loads(hfc("inspect", tmp_path / "out", "--json")[1])
    assert found["method"] == "imatrix m.gguf, awq, gptq" and found["report"]["kl_mean"] > 0
    assert "imatrix m.gguf, awq, gptq" in hfc("inspect", tmp_path / "out")[1]
    other = write_model(
        tmp_path / "other", hidden_size=512, vocab_size=json.loads((folder / "config.json").read_text())["vocab_size"]
    )
    code, out, err = hfc(
        "quantize", other, "--format", "mq4g256v2", "-o", tmp_path / "no", "--imatrix", tmp_path / "m.gguf"
    )
    assert code == 2 and "m.gguf is an imatrix of another model than other" in err and not (tmp_path / "no").exists()


@pytest.mark.long
@pytest.mark.parametrize("way", ["imatrix", "awq"])
def test_commands_with_one_way_alone(way, hfc, folder, tmp_path):  # noqa: F811
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    source = write_model(tmp_path / "source", vocab_size=vocab)
    (source / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    words = ("--awq",)
    if way == "imatrix":
        assert hfc("imatrix", source, "-o", tmp_path / "m.gguf", "-n", 100)[0] == 0
        words = ("--imatrix", tmp_path / "m.gguf")
    options = ("--format", "mq4g256v2", "-o", tmp_path / "out", "-n", 100, "--eval", 64)
    code, out, err = hfc("quantize", source, *options, *words)
    assert code == 0, err
    found = json.loads(hfc("inspect", tmp_path / "out", "--json")[1])
    assert found["method"].split()[0] == way and found["report"]["kl_mean"] > 0


def test_an_interrupted_run_with_feedback_is_gone_on_with(llama, tmp_path):
    opened, packed = open_source(llama), []
    with open_checkpoint(llama) as checkpoint:
        made = plan(checkpoint, "hfc4")
        formats = {t.name: t.format for t in made.tensors}

        def first(put, stop_at=None):
            def counted(name, raw):
                put(name, raw)
                packed.append(name)
                if len(packed) == stop_at:
                    raise KeyboardInterrupt

            pack_linears(opened, [TOKENS], formats, {}, counted)

        whole = quantize(checkpoint, made, tmp_path / "whole", first=first).read_bytes()
        packed.clear()
        with pytest.raises(KeyboardInterrupt):
            quantize(checkpoint, made, tmp_path / "cut", first=lambda put: first(put, 5))
        assert not (tmp_path / "cut/model.safetensors").exists()
        assert quantize(checkpoint, made, tmp_path / "cut", first=first).read_bytes() == whole
        plain = quantize(checkpoint, made, tmp_path / "plain").read_bytes()
        assert plain != whole and len(plain) == len(whole)
        with pytest.raises(KeyboardInterrupt):
            quantize(checkpoint, made, tmp_path / "other", first=lambda put: first(put, len(packed) + 3), key="gptq")
        assert quantize(checkpoint, made, tmp_path / "other").read_bytes() == plain, (
            "pieces of a run with other options"
        )

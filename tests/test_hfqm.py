"""hipfire's files: opened like any checkpoint, run, listed, evaluated and quantized again; what they cannot say is refused by name."""

import json

import numpy as np
import pytest
from hfqm_files import entry, hfqm
from test_cli import bundle, folder, hfc  # noqa: F401  (fixtures)
from test_quantize import TOKENS, distance, interpreted, write_model

from hfc.base.diagnostics import HfcError
from hfc.compiler import CompileOptions, compile_model
from hfc.formats import READABLE
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.rotation import rotate
from hfc.runtime.executor import load
from hfc.step import Step


def converted(source, target, matrix: str, **texts):
    """The folder `source` as an HFQM file: matrices in `matrix`, tables q8_0, narrow tensors q8_0 across rows, vectors f16."""
    form, tensors = READABLE[matrix], {}
    with open_checkpoint(source) as checkpoint:
        for name in checkpoint.names():
            x = checkpoint.f32(name)
            if sum(n != 1 for n in x.shape) < 2:
                tensors[name] = entry(READABLE["f16"], x)
            elif x.shape[-1] % 256:
                tensors[name] = entry(READABLE["q8_0"], x.reshape(1, -1), x.shape)
            elif "embed" in name:
                tensors[name] = entry(READABLE["q8_0"], x)
            else:
                tensors[name] = entry(form, rotate(x) if form.rotated else x)
        target.write_bytes(hfqm(tensors, dict(checkpoint.config), **texts))
    return target


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "model_type, matrix",
    [("llama", "hfp4g32"), ("llama", "mfp4g32"), ("qwen3_5_text", "mq4g256v2"), ("llama", "hfq4g128")],
)
def test_a_file_means_its_model(model_type, matrix, tmp_path):
    source = write_model(tmp_path / "source", model_type)
    path = converted(source, tmp_path / "model.mq4", matrix)
    found = interpreted(path)
    # four bits leave 0.1 of each weight; MFP4 is the worst of them
    assert distance(found, interpreted(source)) < 0.8
    model = load(compile_model(path, ["host"], CompileOptions(kv="f32", ctx=64)), "host", 2)
    assert distance(model.forward(Step.single(TOKENS[:32])), found[:32]) < 2e-4


def test_convolutions_are_packed_across_rows(tmp_path):
    source = write_model(tmp_path / "source", "qwen3_5_text")
    path = converted(source, tmp_path / "model.hfq", "mq4g256")
    name = next(n for n in open_checkpoint(source).names() if "conv1d" in n)
    with open_checkpoint(path) as found, open_checkpoint(source) as expected:
        x = expected.f32(name)
        assert x.shape[-1] == 4 and found.info(name).format == "f32" and found.info(name).packed == "q8_0"
        assert np.array_equal(
            found.f32(name), READABLE["q8_0"].unpack(READABLE["q8_0"].pack(x.reshape(1, -1))).reshape(x.shape)
        )


def test_rotated_tensors_across_rows_come_back(tmp_path):
    x = np.random.default_rng(1).standard_normal((96, 1, 8)).astype(np.float32)
    flat = entry(READABLE["mq4g256"], rotate(x.reshape(1, -1)), x.shape)
    (tmp_path / "model.hfq").write_bytes(hfqm({"a": flat}, {"model_type": "llama"}))
    assert distance(open_checkpoint(tmp_path / "model.hfq").f32("a"), x) < 0.15


def test_commands(hfc, folder, tmp_path):  # noqa: F811
    tokenizer = (folder / "tokenizer.json").read_text()
    source = write_model(tmp_path / "source", vocab_size=json.loads((folder / "config.json").read_text())["vocab_size"])
    path = converted(
        source, tmp_path / "model.mq4", "mq4g256", tokenizer=tokenizer, tokenizer_config={"eos_token": "<end>"}
    )
    code, out, err = hfc("run", path, "--raw", "abc", "--temperature", 0, "-n", 4)
    assert code == 0 and out.strip() and "prompt 3 tokens" in err, err
    assert "mq4g256" in hfc("inspect", path)[1]
    code, out, err = hfc("eval", path, "--against", source, "-n", 64, "--chunk", 32, "--json")
    assert code == 0 and 0 < json.loads(out)["kl_mean"] < 1, err
    code, out, err = hfc("quantize", path, "--format", "q8_0", "-o", tmp_path / "again")
    assert code == 0, err
    assert (tmp_path / "again/tokenizer.json").read_text() == tokenizer
    assert distance(interpreted(tmp_path / "again"), interpreted(path)) < 0.05


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda b: b.replace(b"HFQM\1", b"HFQM\2"), "HFQM version 2; hfc reads 1"),
        (lambda b: b.replace(b'"config"', b'"conf.g"'), "no config"),
        (lambda b: b.replace(b'{"arch', b'["arch'), "not valid JSON"),
        (lambda b: b[:-1], "'b' is truncated"),
        (lambda b: b[:12] + b"\7" + b[13:], "counts 7 tensors, the index 2"),
        (lambda b: b[:24] + b"\x70" + b[25:], "data begins at"),
    ],
)
def test_damage_is_named(change, message, tmp_path):
    x = np.ones((2, 256), np.float32)
    good = hfqm({"a": entry(READABLE["f32"], x), "b": entry(READABLE["mq4g256"], x)}, {"model_type": "llama"}, align=64)
    path = tmp_path / "model.mq4"
    path.write_bytes(change(good))
    with pytest.raises(HfcError, match=message) as caught:
        open_checkpoint(path)
    assert "model.mq4" in str(caught.value)


def test_types_that_hfc_does_not_compute_with_are_listed(tmp_path):
    path = tmp_path / "model.hfq"
    path.write_bytes(hfqm({"a": (19, (4, 256), bytes(4 * 72)), "b": (99, (2, 2), bytes(6))}, {"model_type": "llama"}))
    with open_checkpoint(path) as checkpoint:
        assert [checkpoint.info(n).format for n in "ab"] == ["hipfire type 19 (mq2g256lloyd)", "hipfire type 99"]
        with pytest.raises(HfcError, match="tensor 'a' is stored as hipfire type 19"):
            checkpoint.f32("a")

"""MXFP4 as published: GGUF's blocks against the gguf package, gpt-oss's two tensors, and a model of either kind."""

import json
import shutil

import gguf
import numpy as np
import pytest
from family_fixture import FOLDER
from safetensors.numpy import load_file, save_file

from hfc.base.diagnostics import HfcError
from hfc.compiler import open_source
from hfc.formats import weight_format
from hfc.formats.checkpoint import evaluate, open_checkpoint
from hfc.formats.mxfp import from_pair
from hfc.formats.recipe import apply, tensor
from hfc.oracle import InterpretedModel
from hfc.step import Step

MXFP4 = gguf.GGMLQuantizationType.MXFP4
FOUR_BIT = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
EXPERTS = ("gate_up_proj", "down_proj")


def test_numbers_are_those_of_the_gguf_package():
    """Every byte, so every exponent and code; quantization too."""
    rng, form = np.random.default_rng(1), weight_format("mxfp4")
    raw = rng.integers(0, 256, (512, 17 * 3), np.uint8)
    raw[:256, 0] = np.arange(256)
    assert gguf.dequantize(raw, MXFP4).tobytes() == form.unpack(raw).tobytes()
    x = rng.standard_normal((16, 96)).astype(np.float32) * np.exp2(np.arange(-8, 8, dtype=np.float32))[:, None]
    x[3, :32] = 0
    assert gguf.quantize(x, MXFP4).tobytes() == form.pack(x).tobytes()


def test_two_tensors_are_one():
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (2, 5, 3, 16), np.uint8)
    scales = rng.integers(100, 150, (2, 5, 3), np.uint8)
    nibbles = np.stack([FOUR_BIT[blocks & 15], FOUR_BIT[blocks >> 4]], -1).reshape(2, 5, 3, 32)
    expected = (nibbles * np.exp2(scales.astype(np.float32) - 127)[..., None]).reshape(2, 5, 96)
    np.testing.assert_array_equal(weight_format("mxfp4").unpack(from_pair(blocks, scales)), expected)
    with pytest.raises(HfcError, match=r"blocks must be \[\.\.\., 16\]"):
        from_pair(blocks[:, :4], scales)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """gpt-oss in small, three times the same numbers: experts in MXFP4 as openai publishes them, in bf16, and in a GGUF."""
    folder = tmp_path_factory.mktemp("gpt_oss")
    source = FOLDER / "gpt_oss"
    plain = open_checkpoint(source)
    tensors = {name: plain.f32(name).copy() for name in plain.names()}
    packed, rounded, stacks = dict(tensors), dict(tensors), {}
    for layer in range(2):
        for name in EXPERTS:
            key = f"model.layers.{layer}.mlp.experts.{name}"
            rows = np.ascontiguousarray(tensors[key].swapaxes(1, 2))  # [experts, outputs, inputs]
            raw = weight_format("mxfp4").pack(rows).reshape(*rows.shape[:2], -1, 17)
            nibbles = np.concatenate([raw[..., 1:] & 15, raw[..., 1:] >> 4], -1)
            del packed[key]
            packed[f"{key}_scales"] = np.ascontiguousarray(raw[..., 0])
            packed[f"{key}_blocks"] = nibbles[..., ::2] | nibbles[..., 1::2] << 4
            stacks[layer, name] = raw.reshape(*rows.shape[:2], -1)
            rounded[key] = np.ascontiguousarray(weight_format("mxfp4").unpack(stacks[layer, name]).swapaxes(1, 2))
    for name, content, extra in (
        ("packed", packed, {"quantization_config": {"quant_method": "mxfp4"}}),
        ("rounded", rounded, {}),
    ):
        (folder / name).mkdir()
        save_file(content, folder / name / "model.safetensors")
        config = json.loads((source / "config.json").read_text()) | extra
        (folder / name / "config.json").write_text(json.dumps(config))
    _write_gguf(source / "model.gguf", folder / "model.gguf", stacks)
    return folder


def _write_gguf(source, target, stacks) -> None:
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "gpt-oss")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind, *of = field.types
            writer.add_key_value(field.name, field.contents(), kind, of[-1] if of else None)
    for item in reader.tensors:
        _blk, layer, name = [*item.name.split("."), "", ""][:3]
        raw = stacks.get((int(layer), "down_proj" if "down" in name else "gate_up_proj")) if "exps" in name else None
        if raw is None or item.name.endswith("bias"):
            writer.add_tensor(item.name, item.data, raw_dtype=item.tensor_type)
            continue
        first = 1 if "up_exps" in name else 0
        raw = raw if "down" in name else raw[:, first::2]
        writer.add_tensor(item.name, np.ascontiguousarray(raw), raw_dtype=MXFP4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_published_checkpoint_is_read_as_it_is(published):
    tokens = np.arange(3, 17, dtype=np.int32)
    logits = []
    for path in (published / "rounded", published / "packed", published / "model.gguf"):
        model = InterpretedModel(open_source(path), 32)
        logits.append(model.forward(Step.single(tokens)))
    np.testing.assert_array_equal(logits[1], logits[0])
    np.testing.assert_allclose(
        logits[2], logits[0], rtol=1e-5, atol=1e-6
    )  # sums of another order: rows are not strided
    source = open_source(published / "packed")
    formats = {op.output.type.dtype for op in source.graph().ops if op.kind == "weight"}
    assert "mxfp4b32" in formats


def test_halves_of_a_pair_are_named(published, tmp_path):
    shutil.copytree(published / "packed", tmp_path / "model")
    tensors = load_file(tmp_path / "model/model.safetensors")
    name = "model.layers.1.mlp.experts.down_proj_blocks"
    tensors[name] = tensors[name][:, :, :, :8].copy()
    save_file(tensors, tmp_path / "model/model.safetensors")
    with pytest.raises(HfcError, match="blocks and scales are u8.*expected u8"):
        open_source(tmp_path / "model").graph()


def test_strides_and_transposition_of_plain_and_quantized_tensors(published):
    with open_checkpoint(published / "packed") as packed, open_checkpoint(published / "rounded") as plain:
        key = "model.layers.0.mlp.experts.gate_up_proj"
        stack = apply("mxfp4", tensor(f"{key}_blocks"), tensor(f"{key}_scales"))
        turned = apply("transpose", tensor(key))
        for axis, step in ((1, 2), (0, 3)):
            a, b = (
                evaluate(apply("every", x, axis=axis, step=step), of, 1) for x, of in ((stack, packed), (turned, plain))
            )
            assert a.shape == b.shape and a.format == "mxfp4b32"
            np.testing.assert_array_equal(a.f32(), b.f32())
        for op, more in (("transpose", {}), ("every", {"axis": 2, "step": 2})):
            with pytest.raises(HfcError, match="blocks"):
                evaluate(apply(op, stack, **more), packed, 1)

"""Checkpoints that other programs quantized: values, formats and refusals, against those programs' own values (tests/data/published)."""

import json
import shutil
import weakref
from pathlib import Path

import gguf
import numpy as np
import pytest
from model_reference import MODELS
from safetensors import safe_open
from safetensors.numpy import save_file

from hfc.base.diagnostics import HfcError
from hfc.cli import main
from hfc.compiler import open_source
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.checkpoint.unpacking import E4M3
from hfc.oracle import InterpretedModel
from hfc.step import Step

DATA = Path(__file__).parent / "data/published"
WEIGHT = "model.layers.0.mlp.up_proj.weight"
FP4 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
EXACT = {
    "gptq-int4": "q4_0",
    "gptq-int8": "q8_0",
    "ct-int4-groups": "q4_0",
    "ct-mxfp4": "mxfp4",
    "ct-nvfp4": "nvfp4b32",
}  # the others are read as f32


def folder_of(name: str, folder: Path, **changes) -> tuple[Path, np.ndarray]:
    """A checkpoint of that one weight, and its values by the program that made it."""
    with safe_open(DATA / f"{name}.safetensors", "np") as file:
        config, expected = json.loads(file.metadata()["config"]), file.get_tensor("expected")
    shutil.copy(DATA / f"{name}.safetensors", folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "quantization_config": {**config, **changes}})
    )
    return folder, expected


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.iterdir()))
def test_values_are_those_of_the_program_that_made_them(name, tmp_path):
    folder, expected = folder_of(name, tmp_path)
    with open_checkpoint(folder) as checkpoint:
        info = checkpoint.info(WEIGHT)
        assert info.format == EXACT.get(name, "f32") and info.shape == expected.shape
        assert sorted(checkpoint.names()) == ["expected", WEIGHT] and "quantization_config" not in checkpoint.config
        found = checkpoint.f32(WEIGHT)
        assert checkpoint.raw(WEIGHT).shape == (*info.shape[:-1], info.row_bytes)
    # that program multiplies in bf16, the others in another order
    rounding = 5e-3 if name == "ct-nvfp4" else 1e-6
    np.testing.assert_allclose(found, expected, rtol=rounding, atol=1e-7)
    assert len(np.unique(found)) > 10


def test_a_decoded_weight_is_kept_until_memory_is_released(tmp_path):
    folder, _ = folder_of("fp8-blocks", tmp_path)
    with open_checkpoint(folder) as checkpoint:
        kept = weakref.ref(checkpoint.raw(WEIGHT))
        assert kept() is checkpoint.raw(WEIGHT)
        checkpoint.release()
        assert kept() is None


def test_one_scale_a_row_and_the_zero_points_of_integers(tmp_path):
    """compressed-tensors' int-quantized without symmetry; scales in bf16, as most are."""
    rng = np.random.default_rng(2)
    codes, zero = rng.integers(-128, 128, (6, 40)).astype(np.int8), rng.integers(-9, 9, (6, 1)).astype(np.int8)
    scale = np.array([[2.0**-n] for n in range(6)], np.float32)
    tensors = {
        WEIGHT: codes,
        f"{WEIGHT}_scale": scale,
        f"{WEIGHT}_zero_point": zero,
        "model.layers.0.self_attn.k_scale": scale,
    }
    save_file(tensors, tmp_path / "model.safetensors")
    config = {"quant_method": "compressed-tensors", "format": "int-quantized", "kv_cache_scheme": {"num_bits": 8}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": config}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.names() == [WEIGHT], "scales of a KV cache in FP8 are of no use to ours"
        np.testing.assert_array_equal(checkpoint.f32(WEIGHT), (codes.astype(np.float32) - zero) * scale)


@pytest.mark.parametrize(
    "name, tensors, changes, message",
    [
        ("fp8-blocks", {"weight_scale_inv": None}, {}, "'model.layers.0.mlp.up_proj.weight' is quantized and has no .*weight_scale"),
        ("fp8-blocks", {}, {"weight_block_size": [4, 32]}, "parts do not fit each other: weight f8_e4m3"),
        ("fp8-blocks", {}, {"weight_block_size": "all"}, "quantization_config of config.json cannot be read"),
        ("gptq-int4", {"scales": None}, {}, "is quantized and has no .*scales"),
        ("gptq-int4", {"g_idx": lambda x: x + 99}, {}, "symmetric codes in order, its zero points or g_idx say otherwise"),
        ("gptq-reordered", {"g_idx": lambda x: x + 99}, {}, "parts do not fit each other"),
        ("gptq-reordered", {}, {"bits": "many"}, "quantization_config of config.json cannot be read"),
        ("ct-int4-groups", {"weight_shape": lambda x: x + 1}, {}, "says that its shape is"),
        ("ct-int4-groups", {}, {"transform_config": {"config_groups": {"R1": {"type": "hadamard"}}}}, "neither rotated nor sparse"),
        ("ct-int4-groups", {}, {"sparsity_config": {"format": "sparse-24-bitmask"}}, "neither rotated nor sparse"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_message(name, tensors, changes, message, tmp_path):
    folder, _ = folder_of(name, tmp_path, **changes)
    stored = load_bytes(folder / "model.safetensors")
    for part, change in tensors.items():
        stem = WEIGHT.removesuffix("weight") + part
        dtype, shape, data = stored.pop(stem)
        if change is not None:
            stored[stem] = dtype, shape, change(np.frombuffer(data, {"I32": "<i4", "I64": "<i8"}[dtype])).tobytes()
    save_bytes(folder / "model.safetensors", stored)
    with pytest.raises(HfcError, match=message):
        with open_checkpoint(folder) as checkpoint:
            checkpoint.raw(WEIGHT)


def load_bytes(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + length :][slice(*t["data_offsets"])]) for name, t in header.items()}


def save_bytes(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))


def test_a_whole_model_in_fp8_runs_and_quantizes(tmp_path):
    """Every projection of the llama fixture in FP8: the model of its dequantized weights, bit for bit, and `hfc quantize` takes it."""
    fp8, plain = tmp_path / "fp8", tmp_path / "plain"
    for folder in (fp8, plain):
        shutil.copytree(MODELS / "llama", folder, ignore=shutil.ignore_patterns("*.gguf", "*.npz"))
    with open_checkpoint(MODELS / "llama") as checkpoint:
        values = {name: checkpoint.f32(name).copy() for name in checkpoint.names()}
    stored, whole = {}, {}
    for name, x in values.items():
        if "proj" not in name:
            stored[name] = ("F32", list(x.shape), x.tobytes())
            whole[name] = x
            continue
        scale = np.float32(abs(x).max() / 400)
        codes = nearest_e4m3(x / scale)
        stored[name] = ("F8_E4M3", list(x.shape), codes.tobytes())
        stored[f"{name}_scale_inv"] = ("F32", [], scale.tobytes())
        whole[name] = E4M3[codes] * scale
    save_bytes(fp8 / "model.safetensors", stored)
    save_file(whole, plain / "model.safetensors")
    config = json.loads((fp8 / "config.json").read_text())
    (fp8 / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    tokens = np.arange(9, dtype=np.int32)
    found, expected = (
        InterpretedModel(open_source(folder), 16, 1).forward(Step.single(tokens)) for folder in (fp8, plain)
    )
    np.testing.assert_array_equal(found, expected)
    for folder in (fp8, plain):
        with pytest.raises(SystemExit) as end:
            main(["quantize", str(folder), "--format", "q8_0", "-o", f"{folder}-packed"])
        assert not end.value.code
    with open_checkpoint(f"{fp8}-packed") as one, open_checkpoint(f"{plain}-packed") as other:
        assert one.names() == other.names() and all(
            one.raw(name).tobytes() == other.raw(name).tobytes() for name in one.names()
        )


MEMORY = {  # what types of GGUF are in memory
    "iq1_s": "iq1g16", "iq1_m": "iq1g16", "iq2_xxs": "iq2g16", "iq2_xs": "iq2g16", "iq2_s": "iq2g16", "iq3_xxs": "iq3xxsg32",
    "iq3_s": "iq3sg32", "tq1_0": "tq2_0", "tq2_0": "tq2_0", "nvfp4": "nvfp4b32",
}  # fmt: skip


def test_every_type_of_gguf_has_kernels(tmp_path):
    """Random bytes with finite scales, written and dequantized by the gguf package."""
    kinds = {name: gguf.GGMLQuantizationType[name.upper()] for name in MEMORY}
    raw = {name: np.random.default_rng(4).integers(0, 256, (3, 2 * gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
           for name, kind in kinds.items()}  # fmt: skip
    write_gguf(tmp_path / "m.gguf", {f"{name}.weight": (raw[name], kind) for name, kind in kinds.items()})
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        for name, kind in kinds.items():
            with np.errstate(all="ignore"):
                expected = np.nan_to_num(gguf.quants.dequantize(raw[name], kind))
            assert checkpoint.stored_format(f"{name}.weight") == name
            assert checkpoint.loaded(f"{name}.weight")[0] == MEMORY[name]
            np.testing.assert_array_equal(np.nan_to_num(checkpoint.f32(f"{name}.weight")), expected, err_msg=name)


def test_scales_beside_nvfp4_of_a_gguf_are_part_of_its_values(tmp_path):
    """llama.cpp's converter writes what ModelOpt and compressed-tensors keep for a whole tensor, or for each expert, beside it."""
    kind, one = gguf.GGMLQuantizationType.NVFP4, np.ones(1, np.float32)
    raw = np.random.default_rng(4).integers(0, 0x40, (2, 3, 36), np.uint8)
    tensors = {
        "a.weight": (raw[0], kind), "a.scale": (one * 0.5, None), "a.input_scale": (one, None),
        "b.weight": (raw, kind), "b.scale": (np.array([2, 3], np.float32), None),
    }  # fmt: skip
    write_gguf(tmp_path / "m.gguf", tensors)
    values = gguf.quants.dequantize(raw, kind)
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert checkpoint.names() == ["a.weight", "b.weight"]
        np.testing.assert_array_equal(checkpoint.f32("a.weight"), values[0] * np.float32(0.5))
        np.testing.assert_array_equal(checkpoint.f32("b.weight"), values * np.array([2, 3], np.float32)[:, None, None])


def write_gguf(path: Path, tensors: dict) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    for name, (raw, kind) in tensors.items():
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def nearest_e4m3(x: np.ndarray) -> np.ndarray:
    """u8: the code whose value is nearest, for |x| <= 448."""
    finite = np.array([c for c in range(256) if c & 127 != 127])
    order = finite[np.argsort(E4M3[finite], kind="stable")]
    middles = (E4M3[order][1:] + E4M3[order][:-1]) / 2
    return order[np.searchsorted(middles, x)].astype(np.uint8)


def test_deepseek_v4_as_published_in_fp8_and_fp4(tmp_path):
    """Scales are exponents beside the weights, `X.scale`: of blocks for FP8, of 32 columns for experts in FP4, which stay MXFP4."""
    folder, rng = Path(__file__).parent / "data/families/deepseek_v4", np.random.default_rng(3)
    fp8, plain = tmp_path / "fp8", tmp_path / "plain"
    for made in (fp8, plain):
        shutil.copytree(folder, made, ignore=shutil.ignore_patterns("*.npz"))
    with open_checkpoint(folder) as checkpoint:
        values = {name: checkpoint.f32(name).copy() for name in checkpoint.names()}
    stored, whole = {}, {}
    for name, x in values.items():
        stem = name.removesuffix(".weight")
        is_fp4, is_fp8 = stem.endswith((".w1", ".w3")), ".wq_" in stem and "indexer" not in stem
        if not (is_fp4 or is_fp8):
            stored[name], whole[name] = ("F32", list(x.shape), x.tobytes()), x
            continue
        scales = rng.integers(122, 125, (len(x), x.shape[1] // 32) if is_fp4 else (1, 1)).astype(np.uint8)
        factor = np.exp2(scales.astype(np.float32) - 127)
        if is_fp4:
            codes = rng.integers(0, 256, (len(x), x.shape[1] // 2)).astype(np.uint8)
            numbers = FP4[np.stack([codes & 15, codes >> 4], axis=-1).reshape(x.shape)]
            whole[name] = numbers * np.repeat(factor, 32, axis=1)
        else:
            codes = nearest_e4m3(x / factor)
            whole[name] = E4M3[codes] * factor
        stored[name] = ("I8" if is_fp4 else "F8_E4M3", list(codes.shape), codes.tobytes())
        stored[f"{stem}.scale"] = ("F8_E8M0", list(scales.shape), scales.tobytes())
    save_bytes(fp8 / "model.safetensors", stored)
    save_file(whole, plain / "model.safetensors")
    config = json.loads((fp8 / "config.json").read_text())
    scheme = {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}
    (fp8 / "config.json").write_text(json.dumps({**config, "quantization_config": scheme, "expert_dtype": "fp4"}))
    with open_checkpoint(fp8) as checkpoint:
        assert checkpoint.info("model.layers.0.ffn.experts.0.w1.weight").format == "mxfp4"
    tokens = np.arange(9, dtype=np.int32)
    found, expected = (InterpretedModel(open_source(made), 16, 1).forward(Step.single(tokens)) for made in (fp8, plain))
    assert np.array_equal(found, expected)

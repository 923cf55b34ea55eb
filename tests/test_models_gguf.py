"""GGUF files of models whose fixtures are HF checkpoints: the same weights in llama.cpp's layout give the same logits."""

import json

import gguf
import ml_dtypes
import numpy as np
import pytest
from model_reference import MODELS, TOLERANCE, interpreter, relative_error
from safetensors.numpy import load_file, save_file

from hfc.base.diagnostics import HfcError
from hfc.step import Step

assert ml_dtypes.bfloat16  # registers bfloat16 with numpy, which safetensors needs

BLOCK = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
QWEN3 = BLOCK | {"post_attention_layernorm": "ffn_norm"}
GEMMA3 = BLOCK | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
KEYS = {
    "embedding_length": 64, "feed_forward_length": 96, "context_length": 256, "attention.head_count": 4, "attention.head_count_kv": 2,
    "attention.key_length": 32, "attention.value_length": 32, "attention.layer_norm_rms_epsilon": 1e-6,
}  # fmt: skip


def write_gguf(path, arch: str, keys: dict, names: dict[str, str], tensors: dict[str, np.ndarray], norm_shift: int = 0):
    """Everything as F32. norm_shift: what llama.cpp's converter adds to norm weights."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in (KEYS | keys).items():
        (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(f"{arch}.{key}", value)
    writer.add_token_list([f"t{n}" for n in range(128)])
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for name, tensor in tensors.items():
        stem = name.removesuffix(".weight")
        if stem in outer:
            new = outer[stem]
        else:
            layer, part = stem.removeprefix("model.layers.").split(".", 1)
            new = f"blk.{layer}.{names[part]}"
        writer.add_tensor(f"{new}.weight", tensor.astype(np.float32) + (norm_shift if "norm" in name else 0))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(path) -> np.ndarray:
    return interpreter(path).run(Step.single(np.arange(3, 27)))[0]


def test_qwen3_gguf_equals_its_hf_checkpoint(tmp_path):
    source = MODELS / "qwen3"
    keys = {"block_count": 2, "rope.freq_base": 10000.0}
    write_gguf(tmp_path / "m.gguf", "qwen3", keys, QWEN3, load_file(source / "model.safetensors"))
    assert json.loads((source / "config.json").read_text())["rope_parameters"]["rope_theta"] == 10000.0
    assert relative_error(logits(tmp_path / "m.gguf"), logits(source)) <= TOLERANCE


@pytest.fixture
def gemma(tmp_path):
    """The Gemma fixture with what a GGUF cannot say set to what it implies: attention scale head ** -0.5."""
    source = MODELS / "gemma3_text"
    tensors = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/config.json").write_text(json.dumps(config | {"query_pre_attn_scalar": 32}))
    save_file(tensors, tmp_path / "hf/model.safetensors")
    keys = {"block_count": 3, "rope.freq_base": 1e6, "rope.scaling.factor": 8.0, "attention.sliding_window": 8}
    return tmp_path, keys, tensors


def test_gemma3_gguf_equals_its_hf_checkpoint(gemma):
    folder, keys, tensors = gemma
    keys["attention.sliding_window_pattern"] = 3
    write_gguf(folder / "m.gguf", "gemma3", keys, GEMMA3, tensors, norm_shift=1)
    assert relative_error(logits(folder / "m.gguf"), logits(folder / "hf")) <= TOLERANCE


def test_gemma3_gguf_without_a_pattern_has_one_full_layer_in_six(gemma):
    folder, keys, tensors = gemma
    write_gguf(folder / "m.gguf", "gemma3", keys, GEMMA3, tensors, norm_shift=1)
    windows = [op.attrs["window"] for op in interpreter(folder / "m.gguf").graph.ops_of("attend")]
    assert windows == [8, 8, 8]


def test_an_unread_tensor_of_a_gguf_is_named(tmp_path):
    """A bias that the model file does not know would be dropped, and the text would be wrong."""
    tensors = load_file(MODELS / "qwen3/model.safetensors")
    tensors["model.layers.0.self_attn.q_proj_bias.weight"] = np.ones(128, np.float32)
    names = QWEN3 | {"self_attn.q_proj_bias": "attn_q_bias"}
    write_gguf(tmp_path / "m.gguf", "qwen3", {"block_count": 2}, names, tensors)
    with pytest.raises(HfcError, match="the checkpoint has the tensor 'blk.0.attn_q_bias.weight', which model qwen3"):
        interpreter(tmp_path / "m.gguf")

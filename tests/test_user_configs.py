"""config.json and GGUF metadata as they are published: keys that cannot change a result, heads beside tied ones, scaled RoPE."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from model_reference import MODELS, build, interpreter
from safetensors.numpy import save_file
from test_frontend_config import LLAMA2, settings

from hfc.base.diagnostics import HfcError
from hfc.compiler import open_source
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.checkpoint.rope import rope_table
from hfc.frontend.model import find_model
from hfc.step import Step

# What PretrainedConfig, trainers and other tools have left in published files.
LEFT_BEHIND = {
    "unsloth_version": "2025.3", "unsloth_fixed": True, "_attn_implementation_autoset": True, "_name_or_path": "x/y",
    "tokenizer_class": "LlamaTokenizer", "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "return_dict": True,
    "output_hidden_states": False, "output_attentions": True, "is_encoder_decoder": False, "is_decoder": True,
    "chunk_size_feed_forward": 0, "bos_token": "<s>", "use_sliding_window": False, "sliding_window": 4096,
    "max_window_layers": 28, "rope_interleaved": False, "attention_dropout": 0.1, "hidden_dropout": 0.0, "temperature": 0.6,
    "top_k": 50, "do_sample": True, "max_length": 20, "num_beams": 1, "repetition_penalty": 1.0, "bad_words_ids": None,
    "task_specific_params": None, "pruned_heads": {}, "problem_type": None, "gradient_checkpointing": False, "torchscript": False,
    "router_aux_loss_coef": 0.001, "num_experts": 0, "num_experts_per_tok": 8, "logit_scale": 1.0, "attn_logit_softcapping": 0.0,
    "partial_rotary_factor": 1.0, "layer_windows": [0, 0], "quantizer": "none", "image_token_index": 5, "audio_config": {"n": 3},
    "mlp_bias": False, "vision_feature_layer": -2, "mergekit_version": "0.1",
}  # fmt: skip


def test_keys_that_cannot_change_the_result_are_left_out():
    plain = find_model("llama").settings(LLAMA2, "hf")
    found = find_model("llama").settings({**LLAMA2, **LEFT_BEHIND}, "hf")
    assert {name: found[name] for name in plain} == plain
    for key, value in LEFT_BEHIND.items():
        if key not in (
            "sliding_window",
            "max_window_layers",
            "num_experts_per_tok",
        ):  # parameters of a switch beside them
            settings("", {key: value})


@pytest.mark.parametrize(
    "key, value",
    [
        ("logit_scale", 0.5), ("logit_scale", 0), ("attn_logit_softcapping", 50.0), ("sliding_window", 4096), ("is_encoder_decoder", True),
        ("partial_rotary_factor", 0.5), ("num_experts", 8), ("num_experts_per_tok", 8), ("layer_windows", [0, 128]), ("qk_norm", True),
        ("attention_multiplier", 1.0), ("quantizer", "lattice"), ("use_bidirectional_attention", True), ("nested", {"a": {"b": 2}}),
    ],
)  # fmt: skip
def test_a_key_that_may_change_the_result_stops(key, value):
    with pytest.raises(HfcError, match=f"has the key '{key}"):
        settings("", {key: value})


GGUF_LEFT_BEHIND = {
    "maker.released": "2026", "unsloth.note": "x", "split.count": 1, "arch.attention.causal": True, "arch.expert_count": 0,
    "arch.expert_used_count": 0, "arch.logit_scale": 1.0, "arch.rope.scaling.type": "none", "arch.pooling_type": 3,
    "arch.rope.mrope_interleaved": True, "arch.rope.dimension_sections": [8, 12, 12, 0], "arch.vision.block_count": 27,
    "arch.norm_top_k_prob": True, "arch.attention.key_scale": None,
}  # fmt: skip


def test_gguf_keys_of_others_and_neutral_ones_are_left_out():
    config = {"general.architecture": "arch", "arch.n": 3, "n": None, **GGUF_LEFT_BEHIND}
    assert settings("s = rope_scaling()", config, "gguf")["s"] is None
    for key, value in {
        "attention.causal": False,
        "expert_count": 8,
        "logit_scale": 0.25,
        "rope.scaling.type": "yarn",
    }.items():
        with pytest.raises(HfcError, match=key):
            settings("", {"general.architecture": "arch", "arch.n": 3, "n": None, f"arch.{key}": value}, "gguf")


def test_one_number_for_each_layer_may_stand_for_one_for_all():
    config = {
        "general.architecture": "arch",
        "n": None,
        "arch.n": 3,
        "arch.block_count": 3,
        "arch.heads": [8, 8, 8],
        "arch.odd": [1, 2, 2],
    }
    found = settings("h = heads  k[i] = odd[i]  e[i] = heads[i]  b = block_count", config, "gguf")
    assert (found["h"], found["k"], found["e"]) == (8, [1, 2, 2], [8, 8, 8])


def test_experts_that_are_not_normalised_are_refused():
    config = json.loads((MODELS / "qwen3_5_moe_text" / "config.json").read_text())
    find_model("qwen3_5_moe_text").settings({**config, "norm_topk_prob": True}, "hf")
    with pytest.raises(HfcError, match="norm_topk_prob is false"):
        find_model("qwen3_5_moe_text").settings({**config, "norm_topk_prob": False}, "hf")


YARN = {"factor": 4.0, "original_max_position_embeddings": 1024}


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("model", ["llama", "qwen3", "qwen3_5_text"])
def test_yarn_is_honoured_in_every_model(model, key, tmp_path):
    folder = shutil.copytree(MODELS / model, tmp_path / model)
    config = json.loads((folder / "config.json").read_text())
    inner = config.get("text_config") or config
    before = inner.pop("rope_parameters", None) or {}
    kept = {k: v for k, v in before.items() if k in ("rope_theta", "partial_rotary_factor")}
    inner |= {"rope_theta": before.get("rope_theta", 1e4), "max_position_embeddings": 2048}
    if key == "rope_parameters" or model == "qwen3_5_text":
        inner["rope_parameters"] = {**kept, "rope_type": "yarn", **YARN}
    else:
        inner["rope_scaling"] = {"type": "yarn", **YARN}
    (folder / "config.json").write_text(json.dumps(config))
    graph, _ = build(folder)
    (table,) = {op.attrs["recipe"] for op in graph.ops_of("const")}
    params = dict(table.params)
    assert {name: params[name] for name in ("kind", *YARN)} == {"kind": "yarn", **YARN}
    assert open_source(folder).context_limit == 4096, "the longest context is that of the scaled positions"
    interpreter(folder, context=64).run(Step.single([1, 2, 3]))


def test_yarn_of_a_gguf_has_the_same_names():
    config = {
        "general.architecture": "arch", "n": None, "arch.n": 2, "arch.context_length": 4096, "arch.rope.scaling.type": "yarn",
        "arch.rope.scaling.factor": 4.0, "arch.rope.scaling.original_context_length": 1024, "arch.rope.scaling.yarn_beta_fast": 16.0,
        "arch.rope.scaling.finetuned": True, "arch.rope.scaling.attn_factor": 1.0,
    }  # fmt: skip
    block = "s = rope_scaling() longest = scaled_context(context_length, s)"
    found = settings(block, config, "gguf")
    assert dict(found["s"]) == {"kind": "yarn", **YARN, "beta_fast": 16.0} and found["longest"] == 4096
    with pytest.raises(HfcError, match="unknown parameter of yarn RoPE 'attn_factor'"):
        settings(block, config | {"arch.rope.scaling.attn_factor": 1.5}, "gguf")
    with pytest.raises(HfcError, match="long_factor"):
        settings(block, config | {"arch.rope.scaling.type": "longrope"}, "gguf")


def test_longrope_and_dynamic_tables_follow_their_definitions():
    """The formulas of transformers' ROPE_INIT_FUNCTIONS, in f64."""
    powers = 1e4 ** (np.arange(0, 8, 2) / 8)
    factors = {"short_factor": (1.0, 1.1, 1.2, 1.3), "long_factor": (2.0, 4.0, 8.0, 16.0)}
    for context, name in ((16, "short_factor"), (17, "long_factor")):
        table = rope_table(context, 8, 1e4, "longrope", **factors, original_max_position_embeddings=16, factor=4.0)
        attention = np.sqrt(1 + np.log(4.0) / np.log(16))
        expected = attention * np.cos(np.arange(context)[:, None] / (np.array(factors[name]) * powers))
        assert np.allclose(table[:, :4], expected, atol=1e-6)
    plain = rope_table(16, 8, 1e4)
    assert np.array_equal(rope_table(16, 8, 1e4, "dynamic", factor=2.0, original_max_position_embeddings=16), plain)
    base = 1e4 * (2.0 * 32 / 16 - 1.0) ** (8 / 6)
    grown = rope_table(32, 8, 1e4, "dynamic", factor=2.0, original_max_position_embeddings=16)
    assert np.allclose(grown[:, :4], np.cos(np.arange(32)[:, None] / base ** (np.arange(0, 8, 2) / 8)), atol=1e-6)


def tied_folder(target: Path, head: np.ndarray | None, tied: bool = True) -> Path:
    shutil.copytree(MODELS / "qwen3", target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}))
    with open_checkpoint(MODELS / "qwen3") as source:
        tensors = {name: np.array(source.f32(name)) for name in source.names() if name != "lm_head.weight"}
    if head is not None:
        tensors["lm_head.weight"] = head
    save_file(tensors, target / "model.safetensors")
    return target


def test_a_head_beside_a_tied_embedding_counts_where_it_differs(tmp_path):
    with open_checkpoint(MODELS / "qwen3") as source:
        embed = np.array(source.f32("model.embed_tokens.weight"))
    other = np.ascontiguousarray(embed[::-1])
    run = lambda folder: interpreter(folder, context=16).run(Step.single([1, 2, 3]))[0]  # noqa: E731
    tied = run(tied_folder(tmp_path / "tied", None))
    assert np.array_equal(run(tied_folder(tmp_path / "equal", embed)), tied)
    own = run(tied_folder(tmp_path / "different", other))
    assert np.array_equal(own, run(tied_folder(tmp_path / "untied", other, tied=False)))
    assert not np.allclose(own, tied)

"""Families that an engineer wrote from the docs alone: configs as published and as transformers saves them describe one model."""

import math
from types import SimpleNamespace

import pytest

from hfc.base.diagnostics import HfcError
from hfc.frontend.build import build_graph
from hfc.frontend.model import find_model

FALCON = {"model_type": "falcon", "alibi": False, "bias": False, "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0,
          "hidden_dropout": 0.0, "initializer_range": 0.02, "layer_norm_epsilon": 1e-5, "multi_query": True, "parallel_attn": True,
          "use_cache": True, "vocab_size": 65024}  # fmt: skip
SEVEN = {
    **FALCON,
    "hidden_size": 4544,
    "num_attention_heads": 71,
    "num_hidden_layers": 32,
    "new_decoder_architecture": False,
}
FORTY = {
    **FALCON,
    "hidden_size": 8192,
    "num_attention_heads": 128,
    "num_hidden_layers": 60,
    "new_decoder_architecture": True,
    "num_kv_heads": 8,
}
ELEVEN = {**FALCON, "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 60, "new_decoder_architecture": True, "num_kv_heads": 8,
          "num_ln_in_parallel_attn": 1, "ff_factor": 4, "ffn_hidden_size": 16384, "max_position_embeddings": 8192, "rope_theta": 500042.0,
          "rope_scaling": None, "tie_word_embeddings": False, "activation": "gelu"}  # fmt: skip
PATTERN = [0, *([1] * 4 + [0]), *([1] * 5 + [0]) * 7]
MIMO = {"model_type": "mimo_v2_flash", "attention_dropout": 0.0, "attention_value_scale": 0.707, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 16384, "max_position_embeddings": 262144, "num_attention_heads": 64, "head_dim": 192, "num_hidden_layers": 48,
        "num_key_value_heads": 4, "tie_word_embeddings": False, "vocab_size": 152576, "attention_bias": False, "v_head_dim": 128,
        "n_routed_experts": 256, "moe_intermediate_size": 2048, "num_experts_per_tok": 8, "norm_topk_prob": True, "n_group": 1,
        "topk_group": 1}  # fmt: skip
PUBLISHED = {**MIMO, "layernorm_epsilon": 1e-5, "rope_theta": 5000000, "swa_rope_theta": 10000, "partial_rotary_factor": 0.334, "sliding_window": 128,
             "sliding_window_size": 128, "attention_chunk_size": 128, "hybrid_layer_pattern": PATTERN, "moe_layer_freq": [0] + [1] * 47,
             "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8, "swa_head_dim": 192, "swa_v_head_dim": 128,
             "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
             "n_shared_experts": None, "routed_scaling_factor": None}  # fmt: skip
ROPE = {"rope_type": "default", "partial_rotary_factor": 0.334}
SAVED = {**MIMO, "rms_norm_eps": 1e-5, "sliding_window": 129, "routed_scaling_factor": 1.0, "mlp_layer_types": ["dense"] + ["sparse"] * 47,
         "layer_types": ["sliding_attention" if near else "full_attention" for near in PATTERN],
         "rope_parameters": {"full_attention": {**ROPE, "rope_theta": 5000000.0}, "sliding_attention": {**ROPE, "rope_theta": 10000.0}}}  # fmt: skip
GRIFFIN = {"model_type": "recurrent_gemma", "_block_types": ["recurrent", "recurrent", "attention"], "attention_bias": False, "attention_window_size": 2048,
           "block_types": ["recurrent", "recurrent", "attention"], "conv1d_width": 4, "embeddings_scale_by_sqrt_dim": True,
           "final_w_init_variance_scale": 0.0769, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2560,
           "intermediate_size": 15360, "logits_soft_cap": 30.0, "lru_width": 2560, "num_attention_heads": 10, "num_hidden_layers": 26,
           "num_key_value_heads": 1, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": 256000,
           "w_init_variance_scale": 0.01}  # fmt: skip
GPT2 = {"model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-5, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1,
        "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
        "summary_use_proj": True, "vocab_size": 50257}  # fmt: skip

# ALiBi, and sparsemixer
RW = {**FALCON, "alibi": True, "bias": True, "multi_query": False, "parallel_attn": False, "new_decoder_architecture": False, "hidden_size": 2048,
      "num_attention_heads": 32, "num_hidden_layers": 24, "vocab_size": 50304}  # fmt: skip
BLOOM = {"model_type": "bloom", "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "attention_softmax_in_fp32": True,
         "bias_dropout_fusion": True, "hidden_dropout": 0.0, "initializer_range": 0.02, "layer_norm_epsilon": 1e-5, "masked_softmax_fusion": True,
         "n_embed": 1024, "n_inner": None, "n_layer": 24, "num_attention_heads": 16, "offset_alibi": 100, "pretraining_tp": 1, "seq_length": 2048,
         "skip_bias_add": True, "skip_bias_add_qkv": False, "slow_but_exact": False, "use_cache": True, "vocab_size": 250880}  # fmt: skip
MPT = {"model_type": "mpt", "attn_config": {"alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0, "attn_type": "multihead_attention",
       "attn_uses_sequence_id": False, "clip_qkv": None, "prefix_lm": False, "qk_ln": False, "softmax_scale": None}, "d_model": 4096, "emb_pdrop": 0,
       "embedding_fraction": 1.0, "expansion_ratio": 4, "init_config": {"emb_init_std": None, "name": "kaiming_normal_"}, "init_device": "cpu",
       "learned_pos_emb": True, "logit_scale": None, "max_seq_len": 2048, "n_heads": 32, "n_layers": 32, "no_bias": True,
       "norm_type": "low_precision_layernorm", "resid_pdrop": 0, "tokenizer_name": "EleutherAI/gpt-neox-20b", "use_cache": False, "verbose": 0,
       "vocab_size": 50432}  # fmt: skip
PHI = {"model_type": "phimoe", "attention_bias": True, "attention_dropout": 0.0, "hidden_act": "silu", "hidden_dropout": 0.0, "hidden_size": 4096,
       "initializer_range": 0.02, "input_jitter_noise": 0.01, "intermediate_size": 6400, "lm_head_bias": True, "max_position_embeddings": 131072,
       "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 16,
       "original_max_position_embeddings": 4096, "output_router_logits": False, "rms_norm_eps": 1e-5, "rope_scaling": {"type": "longrope",
       "long_factor": [2.0] * 64, "short_factor": [1.0] * 64, "long_mscale": 1.243163121016122, "short_mscale": 1.243163121016122,
       "original_max_position_embeddings": 4096}, "rope_theta": 10000.0, "router_aux_loss_coef": 0.0, "router_jitter_noise": 0.01,
       "sliding_window": 131072, "tie_word_embeddings": False, "vocab_size": 32064}  # fmt: skip


def settings(config: dict) -> dict:
    return find_model(config["model_type"]).settings(config, "hf")


def parameters(config: dict) -> int:
    graph = build_graph(find_model(config["model_type"]), config, "hf")
    return sum(math.prod(op.output.type.shape) for op in graph.ops_of("weight"))


def test_both_spellings_of_mimo_are_one_model():
    published, saved = settings(PUBLISHED), settings(SAVED)
    assert len(PATTERN) == 48 and published == saved
    assert published["window"] == 129 and published["rotary"][:2] == [64, 64] and published["kv_heads"][:2] == [4, 8]


@pytest.mark.parametrize(
    ("config", "kv_heads", "norms", "ffn", "context"),
    [(SEVEN, 1, 1, 18176, 2048), (FORTY, 8, 2, 32768, 2048), (ELEVEN, 8, 1, 16384, 8192)],
)
def test_published_falcons(config, kv_heads, norms, ffn, context):
    found = settings(config)
    assert (found["kv_heads"], found["norms"], found["ffn"], found["context"]) == (kv_heads, norms, ffn, context)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (GPT2, 124_439_808),
        (SEVEN, 6_921_720_704),
        (GRIFFIN, 2.68e9),
        (PUBLISHED, 309e9),
        (RW, 1_311_625_216),
        (BLOOM, 559_214_592),
        (MPT, 6_649_286_656),
        (PHI, 41_873_153_344),
    ],
)
def test_the_published_sizes(config, size):
    found = parameters(config)
    assert found == size if isinstance(size, int) else abs(found / size - 1) < 0.005, found


def test_gpt2_reads_the_names_of_its_publication():
    """Without a prefix, and with the masks that it keeps as tensors."""
    h, v = 768, 50257
    layer = {"ln_1.weight": (h,), "ln_1.bias": (h,), "ln_2.weight": (h,), "ln_2.bias": (h,), "attn.bias": (1, 1, 1024, 1024),
             "attn.c_attn.weight": (h, 3 * h), "attn.c_attn.bias": (3 * h,), "attn.c_proj.weight": (h, h), "attn.c_proj.bias": (h,),
             "mlp.c_fc.weight": (h, 4 * h), "mlp.c_fc.bias": (4 * h,), "mlp.c_proj.weight": (4 * h, h), "mlp.c_proj.bias": (h,)}  # fmt: skip
    whole = {"wte.weight": (v, h), "wpe.weight": (1024, h), "ln_f.weight": (h,), "ln_f.bias": (h,)}
    for prefix in ("", "transformer."):
        shapes = {prefix + name: shape for name, shape in whole.items()}
        shapes |= {f"{prefix}h.{i}.{name}": shape for i in range(12) for name, shape in layer.items()}
        inventory = SimpleNamespace(
            names=lambda s=shapes: list(s), info=lambda name, s=shapes: SimpleNamespace(shape=s[name], format="f32")
        )
        assert build_graph(find_model("gpt2"), GPT2, "hf", inventory).ops_of("attend")
        del shapes[f"{prefix}h.3.attn.c_attn.bias"]
        with pytest.raises(HfcError, match="h.3.attn.c_attn.bias"):
            build_graph(find_model("gpt2"), GPT2, "hf", inventory)


def test_recurrent_gemma_s_embeddings_grow_by_the_root_in_bf16():
    assert settings(GRIFFIN)["loud"] == 50.5 and settings({**GRIFFIN, "hidden_size": 4096})["loud"] == 64

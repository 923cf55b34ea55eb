"""The sizes of a published model of each family, for the config of its tiny checkpoint: where a kernel of real rows, heads and experts
does not compile, or a launch that others share has no room, the tiny one is silent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAMILIES = Path(__file__).parent / "data/families"


def dense(hidden: int, ffn: int, heads: int, kv_heads: int, vocab: int, head: int | None = None, **others: Any) -> dict:
    sizes = dict(
        hidden_size=hidden,
        intermediate_size=ffn,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab,
    )
    return sizes | ({"head_dim": head} if head else {}) | others


def experts(count: int, chosen: int, ffn: int) -> dict:
    """Under each of the names that configs have for them."""
    names = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), count)
    names |= dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "top_k_experts"), chosen)
    return names | {"moe_intermediate_size": ffn}


CONTEXT = dict.fromkeys(
    ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "model_max_length"), 8192
) | {"attention_chunk_size": 8192}
# fmt: off
LATENT = dict(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, qk_head_dim=192, v_head_dim=128)
WIDE_GLOBAL = {"per_layer_config": {"1": {"head_dim": 512}, "3": {"head_dim": 512}}}  # Gemma 4's layers that see everything
SIZES: dict[str, dict] = {
    "afmoe": dense(2048, 6144, 32, 4, 200192, 128) | experts(128, 8, 1024),  # Trinity Mini
    "apertus": dense(4096, 21504, 32, 8, 131072),  # 8B
    "arcee": dense(2560, 18432, 20, 4, 128004, 128),  # AFM 4.5B
    "bloom": {"n_embed": 4096, "hidden_size": 4096, "num_attention_heads": 32, "vocab_size": 250880},  # 7B1
    "cohere": dense(8192, 22528, 64, 64, 256000),  # Command R
    "cohere2": dense(4096, 14336, 32, 8, 256000),  # Command R7B
    "cohere_plus": dense(12288, 33792, 96, 8, 256000),  # Command R+
    "deepseek_v2": dense(2048, 10944, 16, 16, 102400) | experts(64, 6, 1408) | LATENT | {"n_group": 1, "topk_group": 1},  # V2 Lite
    "deepseek_v3": dense(7168, 18432, 128, 128, 129280) | experts(256, 8, 2048) | LATENT | {"q_lora_rank": 1536, "n_group": 8, "topk_group": 4},
    "deepseek_v32": dense(7168, 18432, 128, 128, 129280) | experts(256, 8, 2048) | LATENT | {"q_lora_rank": 1536, "n_group": 8, "topk_group": 4}
        | {"index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048},
    "deepseek_v4": dense(4096, 2048, 64, 1, 129280, 512) | experts(256, 6, 2048)
        | {"q_lora_rank": 1024, "qk_rope_head_dim": 64, "o_groups": 8, "o_lora_rank": 1024, "sliding_window": 128, "hc_sinkhorn_iters": 20}
        | {"index_head_dim": 128, "index_n_heads": 64, "index_topk": 512}
        | {"compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}}
        | {"rope_parameters": {"main": {"partial_rotary_factor": 0.125}, "compress": {"partial_rotary_factor": 0.125}}},  # Flash
    "dots1": dense(4096, 10944, 32, 32, 152064, 128) | experts(128, 6, 1408),
    "ernie4_5": dense(1024, 3072, 16, 2, 103424, 128),  # 0.3B
    "ernie4_5_moe": dense(2560, 12288, 20, 4, 103424, 128) | experts(64, 6, 1536),  # 21B-A3B
    "exaone4": dense(2048, 4096, 32, 8, 102400, 64),  # 1.2B
    "falcon": {"hidden_size": 4096, "num_attention_heads": 32, "num_kv_heads": 8, "ffn_hidden_size": 16384, "vocab_size": 65024},  # 2, 11B
    "falcon_7b": {"hidden_size": 4544, "num_attention_heads": 71, "vocab_size": 65024},
    "falcon_h1": dense(1024, 2048, 8, 2, 32784, 64, mamba_d_ssm=1536, mamba_n_heads=24, mamba_d_head=64, mamba_d_state=128),  # 0.5B
    "falcon_h1_norm": dense(1024, 2048, 8, 2, 32784, 64, mamba_d_ssm=1536, mamba_n_heads=24, mamba_d_head=64, mamba_d_state=128),
    "falcon_mamba": {"hidden_size": 4096, "intermediate_size": 8192, "time_step_rank": 256, "state_size": 16, "vocab_size": 65024},  # 7B
    "falcon_rw": {"hidden_size": 2048, "num_attention_heads": 32, "vocab_size": 50304},  # 1B
    "gemma": dense(3072, 24576, 16, 16, 256000, 256),  # 7B
    "gemma2": dense(3584, 14336, 16, 8, 256000, 256, query_pre_attn_scalar=256),  # 9B
    "gemma4_e": dense(1536, 6144, 8, 1, 262144, 256, hidden_size_per_layer_input=256, vocab_size_per_layer_input=262144) | WIDE_GLOBAL,  # E2B
    "gemma4_moe": dense(2816, 2112, 16, 8, 262144, 256) | experts(128, 8, 704) | WIDE_GLOBAL,  # 26B-A4B
    "gemma4_unified": dense(3840, 15360, 16, 8, 262144, 256) | WIDE_GLOBAL,  # 12B
    "glm": dense(4096, 13696, 32, 2, 151552, 128),  # 4 of 2024, 9B
    "glm4": dense(4096, 13696, 32, 2, 151552, 128),  # 9B
    "glm4_moe": dense(4096, 10944, 96, 8, 151552, 128) | experts(128, 8, 1408),  # 4.5 Air
    "glm4_moe_lite": dense(2048, 10240, 20, 20, 154880) | experts(64, 4, 1536) | LATENT
        | {"q_lora_rank": 768, "qk_nope_head_dim": 192, "qk_head_dim": 256, "v_head_dim": 256},  # 4.7 Flash
    "gpt2": {"n_embd": 768, "n_head": 12, "vocab_size": 50257},
    "gpt_bigcode": {"n_embd": 6144, "n_head": 48, "n_inner": 24576, "vocab_size": 49152},  # StarCoder
    "gpt_neox": dense(4096, 16384, 32, 32, 50432),  # Pythia 6.9B
    "gpt_oss": dense(2880, 2880, 64, 8, 201088, 64) | {"num_local_experts": 32, "num_experts_per_tok": 4},  # 20B
    "granite": dense(4096, 12800, 32, 8, 49159),  # 3.3 8B
    "granitemoe": dense(1536, 512, 24, 8, 49155) | experts(40, 8, 512),  # 3B-A800M
    "granitemoehybrid": dense(2048, 8192, 32, 8, 100352, shared_intermediate_size=8192, mamba_n_heads=64, mamba_d_head=64, mamba_d_state=128),
    "granitemoehybrid_moe": dense(4096, 768, 32, 8, 100352, shared_intermediate_size=1536, mamba_n_heads=128, mamba_d_head=64, mamba_d_state=128)
        | experts(72, 10, 768),  # 4 H Small
    "hunyuan_v1_dense": dense(4096, 14336, 32, 8, 128256, 128),  # 7B
    "hunyuan_v1_moe": dense(4096, 3072, 32, 8, 128167, 128, attention_head_dim=128) | experts(64, 8, 3072),  # A13B
    "jamba": dense(4096, 14336, 32, 8, 65536, mamba_d_state=16, mamba_dt_rank=256, num_experts=16, num_experts_per_tok=2),  # Mini
    "kimi_linear": dense(2304, 9216, 32, 32, 163840, 72) | experts(256, 8, 1024) | LATENT
        | {"linear_attn_config": {"head_dim": 128, "num_heads": 32}},
    "lfm2": dense(2048, 12288, 32, 8, 65536),  # 1.2B
    "lfm2_moe": dense(2048, 7168, 32, 8, 65536) | experts(32, 4, 1792),  # 8B-A1B
    "llama4": dense(5120, 8192, 40, 8, 202048, 128, intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1),  # Scout
    "mamba": {"hidden_size": 2560, "intermediate_size": 5120, "time_step_rank": 160, "state_size": 16, "vocab_size": 50280},  # 2.8B
    "mamba2": {"hidden_size": 2560, "num_heads": 80, "head_dim": 64, "state_size": 128, "vocab_size": 50288, "n_groups": 1},  # 2.7B
    "mimo_v2_flash": dense(4096, 16384, 64, 4, 152576, 192, v_head_dim=128, swa_num_attention_heads=64, swa_num_key_value_heads=8, swa_head_dim=192,
        swa_v_head_dim=128) | experts(256, 8, 2048),
    "minimax_m2": dense(3072, 1536, 48, 8, 200064, 128, rotary_dim=64) | experts(256, 8, 1536),
    "ministral": dense(4096, 12288, 32, 8, 131072, 128),  # 8B
    "ministral3": dense(4096, 14336, 32, 8, 131072, 128),  # 8B
    "mistral": dense(4096, 14336, 32, 8, 32768, 128),  # 7B
    "mixtral": dense(4096, 14336, 32, 8, 32000, num_local_experts=8),  # 8x7B
    "mpt": {"d_model": 4096, "n_heads": 32, "vocab_size": 50432},  # 7B
    "nemotron": dense(3072, 9216, 24, 8, 256000, 128),  # Minitron 4B
    "nemotron_h": dense(4096, 21504, 32, 8, 131072, 128, mamba_num_heads=128, mamba_head_dim=64, n_groups=8, ssm_state_size=128),  # 8B
    "nemotron_h_moe": dense(2688, 1856, 32, 2, 131072, 128, mamba_num_heads=64, mamba_head_dim=64, n_groups=8, ssm_state_size=128,
        moe_shared_expert_intermediate_size=3712) | experts(128, 6, 1856) | {"n_group": 1},  # 3 Nano
    "olmo": dense(4096, 11008, 32, 32, 50304),  # 7B
    "olmo2": dense(4096, 11008, 32, 32, 100352),  # 7B
    "olmo3": dense(4096, 11008, 32, 32, 100278),  # 7B
    "olmoe": dense(2048, 1024, 16, 16, 50304) | experts(64, 8, 1024),
    "phi": dense(2560, 10240, 32, 32, 51200),  # 2
    "phi3": dense(3072, 8192, 32, 32, 32064),  # mini
    "phimoe": dense(4096, 6400, 32, 8, 32064, num_local_experts=16),  # 3.5
    "qwen2": dense(3584, 18944, 28, 4, 152064),  # 2.5 7B
    "qwen2_moe": dense(2048, 5632, 16, 16, 151936, shared_expert_intermediate_size=5632) | experts(60, 4, 1408),  # 1.5 A2.7B
    "qwen3_moe": dense(2048, 6144, 32, 4, 151936, 128) | experts(128, 8, 768),  # 30B-A3B
    "qwen3_next": dense(2048, 5120, 16, 2, 151936, 256, shared_expert_intermediate_size=512, linear_num_key_heads=16, linear_num_value_heads=32,
        linear_key_head_dim=128, linear_value_head_dim=128) | experts(512, 10, 512),  # 80B-A3B
    "recurrent_gemma": dense(2560, 15360, 10, 1, 256000, 256, lru_width=2560),  # 2B
    "seed_oss": dense(5120, 27648, 80, 8, 155136, 128),  # 36B
    "smollm3": dense(2048, 11008, 16, 4, 128256),
    "stablelm": dense(2048, 5632, 32, 32, 100352),  # 2 1.6B
    "stablelm_parallel": dense(5120, 13824, 40, 8, 100352),  # 2 12B
    "starcoder2": dense(3072, 12288, 24, 2, 49152),  # 3B
}
# fmt: on


def published_config(name: str) -> dict[str, Any]:
    """The config of a family's checkpoint with the sizes of a published model, its few layers kept."""
    return _with(json.loads((FAMILIES / name / "config.json").read_text()), CONTEXT | SIZES[name])


def _with(config: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Only keys that the config has; layers of their own sizes are as many times larger as the rest."""
    made = dict(config)
    for key, value in config.items():
        if key not in sizes:
            continue
        if isinstance(value, dict):
            made[key] = _with(value, sizes[key])
        elif isinstance(value, list) and not isinstance(sizes[key], list):
            made[key] = [sizes[key]] * len(value)
        else:
            made[key] = sizes[key]
    return made

"""Families with a mixture of experts in some or all layers."""

from __future__ import annotations

from dataclasses import replace

from families import Family, family

MLA = dict(
    num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=20
)
PHIMOE_ROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64, "short_factor": [1.0, 1.2, 3.0, 4.0],
    "long_factor": [1.0, 2.0, 16.0, 32.0], "short_mscale": 1.25, "long_mscale": 1.25,
}  # fmt: skip
FAMILIES: dict[str, Family] = {
    "mimo_v2_flash": family(
        "MiMoV2Flash", 95, lost={"sliding_window": 5}, num_hidden_layers=3, num_key_value_heads=1, head_dim=24, v_head_dim=16, sliding_window=6,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"], mlp_layer_types=["dense", "sparse", "sparse"],
        n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, published={
            "layer_types": None, "mlp_layer_types": None, "hybrid_layer_pattern": [0, 1, 1], "moe_layer_freq": [0, 1, 1], "rms_norm_eps": None,
            "layernorm_epsilon": 1e-5, "rope_parameters": None, "rope_theta": 5000000, "swa_rope_theta": 10000, "partial_rotary_factor": 0.334,
            "sliding_window": 5, "sliding_window_size": 5, "attention_chunk_size": 5, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2,
            "swa_head_dim": 24, "swa_v_head_dim": 16, "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False,
            "scoring_func": "sigmoid", "topk_method": "noaux_tc", "n_shared_experts": None, "routed_scaling_factor": None,
        },
    ),
    "qwen3_moe": family("Qwen3Moe", 41, head_dim=16, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=True),
    "dots1": family(
        "Dots1", 73, num_hidden_layers=3, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=2, n_group=1,
        topk_group=1, first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=2.5, sliding_window=None, head_dim=8,
        published={"scoring_func": "sigmoid"},
    ),
    "afmoe": family(
        "Afmoe", 75, num_hidden_layers=4, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, num_shared_experts=2, head_dim=8,
        num_dense_layers=1, route_scale=2.5, mup_enabled=True, sliding_window=8, intermediate_size=32, published={
            "route_norm": True, "score_func": "sigmoid", "n_group": 1, "topk_group": 1, "num_expert_groups": 1, "num_limited_groups": 1,
            "load_balance_coeff": 5e-4, "use_grouped_mm": True,
        },
    ),
    "hunyuan_v1_moe": family(
        "HunYuanMoEV1", 74, num_experts=6, moe_topk=2, intermediate_size=24, head_dim=8, published={
            "moe_topk": [2, 2], "moe_intermediate_size": [24, 24], "num_shared_expert": [1, 1], "use_qk_norm": True, "use_cla": False,
            "cla_share_factor": 2, "norm_type": "rms", "use_mixed_mlp_moe": True, "moe_layer_num_skipped": 0, "attention_head_dim": 8,
        },
    ),
    "phimoe": family(
        "Phimoe", 72, num_local_experts=6, num_experts_per_tok=2, intermediate_size=24, sliding_window=None, router_jitter_noise=0.01,
        attention_bias=True, lm_head_bias=True, original_max_position_embeddings=64, rope_parameters=PHIMOE_ROPE, published={
            "architectures": ["PhiMoEForCausalLM"], "input_jitter_noise": 0.01, "rope_parameters": None, "rope_theta": 1e4, "hidden_dropout": 0.0,
            "rope_scaling": {**{k: v for k, v in PHIMOE_ROPE.items() if k not in ("rope_type", "rope_theta")}, "type": "longrope"},
        }, lost={"rope_parameters": {**PHIMOE_ROPE, "short_mscale": 1.1547005383792515, "long_mscale": 1.1547005383792515}},
    ),
    "mixtral": family("Mixtral", 42, num_local_experts=5, num_experts_per_tok=2, intermediate_size=24, sliding_window=None),
    "qwen2_moe": family(
        "Qwen2Moe", 43, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=16, shared_expert_intermediate_size=24,
    ),
    "glm4_moe": family(
        "Glm4Moe", 44, head_dim=16, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=1, n_group=1,
        topk_group=1, first_k_dense_replace=1, use_qk_norm=True, attention_bias=True, partial_rotary_factor=0.5, routed_scaling_factor=1.5,
    ),
    "minimax_m2": family(
        "MiniMaxM2", 45, head_dim=16, num_local_experts=6, num_experts_per_tok=3, intermediate_size=16, rotary_dim=8, scoring_func="sigmoid",
    ),
    "ernie4_5_moe": family(
        "Ernie4_5_Moe", 46, moe_num_experts=6, moe_k=3, moe_intermediate_size=16, moe_num_shared_experts=2, moe_layer_start_index=1,
    ),
    "olmoe": family("Olmoe", 57, num_experts=6, num_experts_per_tok=3, intermediate_size=16, num_key_value_heads=4),
    "granitemoe": family(
        "GraniteMoe", 48, num_local_experts=6, num_experts_per_tok=3, intermediate_size=16, embedding_multiplier=6.0, logits_scaling=2.0,
        residual_multiplier=0.7, attention_multiplier=0.3,
    ),
    "gpt_oss": family(
        "GptOss", 49, head_dim=16, num_local_experts=5, num_experts_per_tok=2, intermediate_size=32, sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "glm4_moe_lite": family(
        "Glm4MoeLite", 50, **MLA, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=1,
        routed_scaling_factor=1.8, mlp_layer_types=["dense", "sparse"], first_k_dense_replace=1, scoring_func="sigmoid",
    ),
    "llama4": replace(
        family(
            "Llama4", 53, lost={"floor_scale": 8192, "attn_scale": 0.1}, head_dim=16, intermediate_size=16,
            intermediate_size_mlp=48, num_local_experts=6, num_experts_per_tok=2,
            num_hidden_layers=4, interleave_moe_layer_step=2, use_qk_norm=True, attention_chunk_size=64, floor_scale=8, attn_scale=0.3,
            no_rope_layer_interval=4,
        ),
        config_class="Llama4TextConfig",
    ),
    "deepseek_v3": family(
        "DeepseekV3", 51, **MLA, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=1, n_group=4,
        topk_group=2, first_k_dense_replace=1, routed_scaling_factor=2.5, scoring_func="sigmoid",
    ),
    "deepseek_v4": family(
        "DeepseekV4", 96, gguf=False, num_key_value_heads=1, num_hidden_layers=4, head_dim=24, moe_intermediate_size=16, q_lora_rank=20,
        n_routed_experts=8, num_experts_per_tok=3, partial_rotary_factor=1 / 3, hc_sinkhorn_iters=5, swiglu_limit=1.5, sliding_window=5,
        o_groups=2, o_lora_rank=12, index_n_heads=6, index_head_dim=16, index_topk=3, without=("intermediate_size",),
        compress_rates={"compressed_sparse_attention": 3, "heavily_compressed_attention": 6},
        layer_types=["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention", "compressed_sparse_attention"],
        mlp_layer_types=["hash_moe", "moe", "hash_moe", "moe"],
        rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1},
    ),
    "deepseek_v32": family(
        "DeepseekV32", 97, gguf=False, **MLA, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=1, n_group=4,
        topk_group=2, first_k_dense_replace=1, routed_scaling_factor=2.5, index_n_heads=6, index_head_dim=24, index_topk=6,
    ),
    "deepseek_v2": family(
        "DeepseekV2", 52, **{**MLA, "q_lora_rank": None}, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16,
        n_shared_experts=2, n_group=4, topk_group=2, topk_method="group_limited_greedy", first_k_dense_replace=1, routed_scaling_factor=1.5,
    ),
}  # fmt: skip

"""Families with a state that is no cache: short convolutions, Mamba-2, gated delta rules."""

from __future__ import annotations

from families import Family, family

MAMBA = dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=16, mamba_n_groups=1, mamba_d_conv=4, mamba_expand=2)
GRANITE = dict(
    **MAMBA, num_hidden_layers=3, layer_types=["linear_attention", "full_attention", "linear_attention"], num_local_experts=0,
    num_experts_per_tok=0, intermediate_size=48,
    shared_intermediate_size=48, embedding_multiplier=1.5, logits_scaling=3.0, residual_multiplier=0.8, attention_multiplier=0.3,
    tie_word_embeddings=False,
)  # fmt: skip

NEMOTRON = dict(
    mamba_num_heads=8, mamba_head_dim=8, ssm_state_size=16, n_groups=2, conv_kernel=4, head_dim=16, time_step_min=1e-30
)

PURE_MAMBA = dict(
    without=(
        *("num_attention_heads", "num_key_value_heads", "max_position_embeddings", "intermediate_size"),
    ), state_size=8, conv_kernel=4, expand=2, time_step_rank=4, tie_word_embeddings=True,
)  # fmt: skip

FAMILIES: dict[str, Family] = {
    "lfm2": family(
        "Lfm2", 21, conv_L_cache=3, layer_types=["conv", "conv", "full_attention"], num_hidden_layers=3,
        block_auto_adjust_ff_dim=True, block_multiple_of=16, tie_word_embeddings=True,
    ),
    "lfm2_moe": family(
        "Lfm2Moe", 22, conv_L_cache=3, layer_types=["conv", "full_attention"], num_dense_layers=1, num_experts=8, num_experts_per_tok=3,
        moe_intermediate_size=16, tie_word_embeddings=True,
    ),
    "granitemoehybrid": family("GraniteMoeHybrid", 31, published={"layer_types": ["mamba", "attention", "mamba"]}, **GRANITE),
    "granitemoehybrid_moe": family(
        "GraniteMoeHybrid", 32, published={"layer_types": ["mamba", "attention"]}, **{
            **GRANITE, "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "mamba_n_groups": 2,
            "num_local_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 16,
        },
    ),
    "granitemoehybrid_rope": family(
        "GraniteMoeHybrid", 33, published={"layer_types": ["attention", "mamba"]}, lost={"position_embedding_type": "nope"}, **{
            **GRANITE, "num_hidden_layers": 2, "layer_types": ["full_attention", "linear_attention"], "position_embedding_type": "rope",
        },
    ),
    "granitemoehybrid_dense": family(
        "GraniteMoeHybrid", 33, published={"layer_types": ["attention", "attention"], "num_experts_per_tok": 0, "num_local_experts": 0}, **{
            **GRANITE, "num_hidden_layers": 2, "layer_types": ["full_attention", "full_attention"], "position_embedding_type": "rope",
        },
    ),
    "falcon_h1": family(
        "FalconH1", 41, **{**MAMBA, "mamba_d_ssm": 48, "mamba_n_heads": 6}, mamba_rms_norm=False, mamba_norm_before_gate=False,
        embedding_multiplier=2.0, lm_head_multiplier=0.5, key_multiplier=0.5, attention_in_multiplier=2.0, attention_out_multiplier=0.5,
        ssm_in_multiplier=2.0, ssm_out_multiplier=0.5, ssm_multipliers=[0.5, 2.0, 0.25, 1.0, 0.5], mlp_multipliers=[0.5, 2.0],
        head_dim=8,
    ),
    "falcon_h1_norm": family(
        "FalconH1", 42, num_hidden_layers=1, **{**MAMBA, "mamba_d_ssm": 64, "mamba_n_groups": 2}, mamba_rms_norm=True,
        mamba_norm_before_gate=False, head_dim=8,
    ),
    "nemotron_h": family(
        "NemotronH", 51, without=("num_hidden_layers",), layers_block_type=["linear_attention", "mlp", "full_attention", "mlp"],
        published={
            "hybrid_override_pattern": "M-*-", "layers_block_type": None, "num_hidden_layers": 4, "num_experts_per_tok": None,
            "n_routed_experts": None, "moe_intermediate_size": None, "moe_shared_expert_intermediate_size": None, "n_group": None, "topk_group": None,
        }, **NEMOTRON,
    ),
    "nemotron_h_moe": family(
        "NemotronH", 52, without=("num_hidden_layers",), layers_block_type=["linear_attention", "moe", "full_attention"],
        published={"layers_block_type": ["mamba", "moe", "attention"]}, **{
            **NEMOTRON, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5,
            "moe_intermediate_size": 16, "moe_shared_expert_intermediate_size": 24,
        },
    ),
    "mamba": family("Mamba", 82, **PURE_MAMBA),
    "mamba2": family(
        "Mamba2", 84, num_heads=4, head_dim=16, state_size=8, conv_kernel=4, expand=2, n_groups=2, published={"residual_in_fp32": True}, without=(
            *("intermediate_size", "num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
        ),
    ),
    "falcon_mamba": family("FalconMamba", 83, **PURE_MAMBA),
    "jamba": family(
        "Jamba", 81, num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=0,
        num_experts=6, num_experts_per_tok=3, mamba_d_state=8, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank=4, intermediate_size=32,
    ),
    "recurrent_gemma": family(
        "RecurrentGemma", 94, gguf=False, without=("max_position_embeddings",), num_hidden_layers=3, num_key_value_heads=1, lru_width=32,
        attention_window_size=8, intermediate_size=96, tie_word_embeddings=True, published={
            "rope_parameters": None, "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "embeddings_scale_by_sqrt_dim": True,
            "tie_word_embeddings": None,
        },
    ),
    "kimi_linear": family(
        "KimiLinear", 71, names={"layers.0.block_sparse_moe.": "layers.0.mlp."}, num_key_value_heads=4, kv_lora_rank=16, q_lora_rank=None,
        qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=20, linear_head_dim=8, linear_num_heads=4, linear_conv_kernel_dim=4,
        num_local_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, n_shared_experts=1, n_group=1, topk_group=1,
        layer_types=["linear_attention", "full_attention"], mlp_layer_types=["dense", "sparse"], routed_scaling_factor=1.7,
        published={
            "linear_attn_config": {"full_attn_layers": [2], "kda_layers": [1], "head_dim": 8, "num_heads": 4, "short_conv_kernel_size": 4},
            "layer_types": None, "mlp_layer_types": None, "linear_head_dim": None, "linear_num_heads": None, "linear_conv_kernel_dim": None,
            "first_k_dense_replace": 1, "mla_use_nope": True, "moe_layer_freq": 1, "moe_router_activation_func": "sigmoid",
            "num_nextn_predict_layers": 0, "use_grouped_topk": True, "rope_theta": 10000.0, "rope_scaling": None,
        },
    ),
    "qwen3_next": family(
        "Qwen3Next", 61, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8, head_dim=16, num_experts=8, num_experts_per_tok=3,
        moe_intermediate_size=16, shared_expert_intermediate_size=24,
    ),
}  # fmt: skip

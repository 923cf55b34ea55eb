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

FAMILIES: dict[str, Family] = {
    "lfm2": family(
        "Lfm2", 21, conv_L_cache=3, layer_types=["conv", "conv", "full_attention"], num_hidden_layers=3,
        block_auto_adjust_ff_dim=True, block_multiple_of=16, tie_word_embeddings=True,
    ),
    "granitemoehybrid": family("GraniteMoeHybrid", 31, published={"layer_types": ["mamba", "attention", "mamba"]}, **GRANITE),
    "granitemoehybrid_moe": family(
        "GraniteMoeHybrid", 32, published={"layer_types": ["mamba", "attention"]}, **{
            **GRANITE, "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "mamba_n_groups": 2,
            "num_local_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 16,
        },
    ),
    "granitemoehybrid_rope": family(
        "GraniteMoeHybrid", 33, gguf=False, **{
            **GRANITE, "num_hidden_layers": 2, "layer_types": ["full_attention", "linear_attention"], "position_embedding_type": "rope",
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
}  # fmt: skip

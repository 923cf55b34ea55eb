"""Dense families: attention and one MLP in every layer."""

from __future__ import annotations

from dataclasses import replace

from families import COMMON, HEADS, HIDDEN, VOCAB, Family, family

YARN = {
    "rope_type": "yarn", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0,
    "attention_factor": 1.2,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.2, 3.0], "long_factor": [1.0, 2.0, 16.0],
}  # fmt: skip


def gemma4(seed: int, **config) -> Family:
    usual = dict(
        tie_word_embeddings=True, head_dim=8, global_head_dim=16, sliding_window=8, layer_types=["sliding_attention", "full_attention"],
        final_logit_softcapping=8.0,
    )  # fmt: skip
    return replace(family("Gemma4", seed, **{**usual, **config}), config_class="Gemma4TextConfig")


def seeing(stem: str, seed: int, vision: dict, **config) -> Family:
    """The text side of a model that also sees: its positions come in three streams, which are one where there is text alone."""
    text = {**{key: COMMON[key] for key in COMMON if key != "tie_word_embeddings"}, **config}
    head = text.get("head_dim", HIDDEN // HEADS) // 2
    text["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [head // 2, head // 4, head // 4],
    }
    sizes = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": HIDDEN,
        "patch_size": 4,
    }
    given = {
        "text_config": text,
        "vision_config": {**sizes, **vision},
        "vocab_size": VOCAB,
        "tie_word_embeddings": False,
    }
    return Family(f"{stem}Config", f"{stem}ForConditionalGeneration", given, seed)


FAMILIES: dict[str, Family] = {
    "qwen2": family("Qwen2", 11, tie_word_embeddings=True),
    "mistral": family("Mistral", 12, head_dim=16, sliding_window=8, lost={"sliding_window": None}),
    "ministral": family("Ministral", 13, gguf=False, head_dim=16, sliding_window=8, layer_types=["sliding_attention", "full_attention"]),
    "smollm3": family("SmolLM3", 14, tie_word_embeddings=True, num_hidden_layers=4, intermediate_size=32),
    "granite": family(
        "Granite", 15, embedding_multiplier=3.0, logits_scaling=0.5, residual_multiplier=0.6, attention_multiplier=0.2
    ),
    "olmo2": family("Olmo2", 16),
    "olmo3": family(
        "Olmo3", 17, sliding_window=8, layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 5e5}, "full_attention": YARN},
    ),
    "gemma2": family(
        "Gemma2", 18, tie_word_embeddings=True, head_dim=16, query_pre_attn_scalar=16, sliding_window=8,
        layer_types=["sliding_attention", "full_attention"], attn_logit_softcapping=5.0, final_logit_softcapping=8.0,
    ),
    "cohere2": family(
        "Cohere2", 20, without=("rms_norm_eps",), tie_word_embeddings=True, sliding_window=8, logit_scale=0.5, rotary_pct=1.0,
        num_hidden_layers=4, intermediate_size=32,
    ),
    "ernie4_5": family("Ernie4_5", 21, head_dim=16, tie_word_embeddings=True),
    "glm4": family("Glm4", 22, head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    "apertus": family("Apertus", 28, hidden_act="xielu"),
    "stablelm": family("StableLm", 37, use_qkv_bias=True),
    "stablelm_parallel": family("StableLm", 38, gguf=False, qk_layernorm=True, use_parallel_residual=True),
    "gpt_neox": family(
        "GPTNeoX", 39, published={"rotary_pct": 0.5, "rotary_emb_base": 10000}, without=("num_key_value_heads",),
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    ),
    "seed_oss": family("SeedOss", 34, head_dim=16, attention_bias=True, attention_dropout=0.0, residual_dropout=0.0),
    "hunyuan_v1_dense": family(
        "HunYuanDenseV1", 35, published={"max_position_embeddings": 32768}, head_dim=16,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 50.0, "factor": 1.0},
    ),
    "starcoder2": family("Starcoder2", 36, tie_word_embeddings=True, sliding_window=8, use_bias=True, lost={"sliding_window": None}),
    "exaone4": family(
        "Exaone4", 29, head_dim=16, sliding_window=8, sliding_window_pattern="LG", layer_types=["sliding_attention", "full_attention"],
    ),
    "gemma4_e": gemma4(
        24, num_hidden_layers=4, hidden_size_per_layer_input=8, vocab_size_per_layer_input=VOCAB, num_kv_shared_layers=2, use_double_wide_mlp=True,
        layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"], intermediate_size=32,
    ),
    "gemma4_unified": replace(  # the 12B; llama.cpp's converter knows it with its other modalities alone
        gemma4(44, attention_k_eq_v=True, num_global_key_value_heads=1), gguf=False,
        config_class="Gemma4UnifiedTextConfig", model_class="Gemma4UnifiedForCausalLM",
    ),
    "gemma3n": replace(
        family(
            "Gemma3n", 27, intermediate_size=[32, 32, 32, 32], num_hidden_layers=4, head_dim=16,
            tie_word_embeddings=True, hidden_size_per_layer_input=8, vocab_size_per_layer_input=VOCAB, altup_num_inputs=4, altup_active_idx=0,
            laurel_rank=8, num_kv_shared_layers=2, sliding_window=8, final_logit_softcapping=8.0,
            layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            activation_sparsity_pattern=[0.9, 0.0, 0.6, 0.0],
        ),
        config_class="Gemma3nTextConfig",
    ),
    "gemma4_moe": gemma4(
        26, hidden_size_per_layer_input=0, enable_moe_block=True, num_experts=6, top_k_experts=3, moe_intermediate_size=16, gguf=False,
    ),
    "gemma4": gemma4(25, hidden_size_per_layer_input=0, attention_k_eq_v=True, num_global_key_value_heads=1),
    "ministral3": family(
        "Ministral3", 23, head_dim=16,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 8, "max_position_embeddings": 128,
            "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3,
        },
    ),
    "falcon": family(
        "Falcon", 91, without=("intermediate_size", "num_key_value_heads"), tie_word_embeddings=True, num_kv_heads=2,
        new_decoder_architecture=True,
    ),
    "falcon_7b": family(
        "Falcon", 92, without=("intermediate_size", "num_key_value_heads"), tie_word_embeddings=True, published={
            "num_kv_heads": None, "ffn_hidden_size": None, "max_position_embeddings": None, "activation": None, "tie_word_embeddings": None,
            "num_ln_in_parallel_attn": None, "rope_parameters": None,
        },
    ),
    "falcon_rw": replace(family(  # "eager" adds ALiBi twice: to the mask and to the scores
        "Falcon", 96, gguf=False, without=("intermediate_size", "num_key_value_heads"), tie_word_embeddings=True, num_attention_heads=6,
        hidden_size=48, alibi=True, bias=True, multi_query=False, parallel_attn=False, published={
            "num_kv_heads": None, "ffn_hidden_size": None, "max_position_embeddings": None, "activation": None, "tie_word_embeddings": None,
            "num_ln_in_parallel_attn": None, "rope_parameters": None, "apply_residual_connection_post_layernorm": False,
        },
    ), attention="sdpa"),
    "bloom": family(
        "Bloom", 97, without=("intermediate_size", "num_key_value_heads", "max_position_embeddings", "num_hidden_layers", "num_attention_heads"),
        hidden_size=48, n_layer=2, n_head=6, published={
            "hidden_size": None, "n_embed": 48, "n_head": None, "num_attention_heads": 6, "seq_length": 256, "n_inner": None, "offset_alibi": 100,
            "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "masked_softmax_fusion": True, "skip_bias_add": True,
            "skip_bias_add_qkv": False, "unk_token_id": 0, "tie_word_embeddings": None,
        }, names={"transformer.": ""},
    ),
    "mpt": family(
        "Mpt", 98, without=(
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_key_value_heads", "max_position_embeddings"),
        ), tie_word_embeddings=True, d_model=48, n_layers=2, n_heads=6, max_seq_len=256, attn_config={"clip_qkv": 1.5}, published={
            "architectures": ["MPTForCausalLM"], "tie_word_embeddings": None, "init_config": {"name": "kaiming_normal_"}, "verbose": 0,
            "tokenizer_name": "EleutherAI/gpt-neox-20b", "layer_norm_epsilon": None,
        },
    ),
    "qwen3_vl": seeing("Qwen3VL", 110, {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}, head_dim=16),
    "qwen2_5_vl": seeing("Qwen2_5_VL", 111, {"fullatt_block_indexes": [0]}),
    "glm": family(
        "Glm", 108, head_dim=8, attention_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        lost={"rms_norm_eps": 1e-5},
    ),
    "gpt_bigcode": family(
        "GPTBigCode", 109, tie_word_embeddings=True, n_embd=HIDDEN, n_layer=2, n_head=HEADS, n_positions=256, without=(
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "intermediate_size", "num_key_value_heads"),
        ), published={"tie_word_embeddings": None, "n_inner": 4 * HIDDEN, "inference_runner": 0, "max_batch_size": None},
    ),
    "gemma": family("Gemma", 126, tie_word_embeddings=True, head_dim=16),
    "cohere": family("Cohere", 105, without=("rms_norm_eps",), tie_word_embeddings=True, logit_scale=0.5),
    "cohere_plus": family("Cohere", 103, without=("rms_norm_eps",), tie_word_embeddings=True, logit_scale=0.5, use_qk_norm=True),
    "arcee": family("Arcee", 104, rope_parameters=YARN, head_dim=8),
    "olmo": family("Olmo", 105, clip_qkv=1.5),
    "nemotron": family("Nemotron", 106, head_dim=8),
    "phi": family("Phi", 107, num_key_value_heads=HEADS, intermediate_size=4 * HIDDEN),
    "gpt2": replace(family(
        "GPT2", 93, tie_word_embeddings=True, n_embd=HIDDEN, n_layer=2, n_head=HEADS, n_positions=256, without=(
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "intermediate_size", "num_key_value_heads"),
        ), published={"n_ctx": 256, "tie_word_embeddings": None, "n_inner": None},
    ), model_class="GPT2LMHeadModel"),
    "phi3": family("Phi3", 19, max_position_embeddings=256, original_max_position_embeddings=64, rope_parameters=LONGROPE),
}  # fmt: skip

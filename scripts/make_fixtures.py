"""Writes tests/data/models: tiny random models with references computed in float32 by transformers.

usage: python scripts/make_fixtures.py [OUT]      needs torch, transformers and gguf; the tests need none of them

Weights are rounded to bf16 and stored so; references are exact for bf16 and f32 readers alike. Each folder holds config.json,
model.safetensors and reference.npz: tokens, logits of the whole prompt and token by token, the last hidden states, greedy
tokens and their logits, and every layer's state after the prompt. The .gguf files hold the same weights in llama.cpp's layout.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

VOCAB, HIDDEN, FFN, HEAD = 128, 64, 96, 32
PROMPT, GREEDY = 24, 12
COMMON = dict(
    vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=FFN, num_attention_heads=4, num_key_value_heads=2, head_dim=HEAD,
    max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0, rms_norm_eps=1e-6,
)  # fmt: skip
DELTA = dict(
    linear_conv_kernel_dim=4, linear_key_head_dim=16, linear_value_head_dim=16, linear_num_key_heads=2,
    rope_parameters={
        "rope_type": "default", "rope_theta": 1e5, "partial_rotary_factor": 0.25, "mrope_section": [2, 1, 1], "mrope_interleaved": True,
    },
)  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
MODELS = {  # folder -> transformers' class stem, config, seed
    "llama": ("Llama", dict(COMMON, num_hidden_layers=2, tie_word_embeddings=True, rope_parameters=LLAMA3), 1),
    "qwen3": ("Qwen3", dict(COMMON, num_hidden_layers=2, tie_word_embeddings=False), 2),
    "olmo2": ("Olmo2", dict({k: v for k, v in COMMON.items() if k != "head_dim"}, num_hidden_layers=2, tie_word_embeddings=False), 3),
    "gemma3_text": (
        "Gemma3",
        dict(
            COMMON, num_hidden_layers=3, sliding_window=8, query_pre_attn_scalar=24, tie_word_embeddings=True,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            },
        ),
        4,
    ),
    "qwen3_5_text": (
        "Qwen3_5",
        dict(
            COMMON, **DELTA, num_hidden_layers=3, linear_num_value_heads=6, tie_word_embeddings=False,
            layer_types=["linear_attention", "linear_attention", "full_attention"],
        ),
        5,
    ),
    "qwen3_5_moe_text": (
        "Qwen3_5Moe",
        dict(
            {k: v for k, v in COMMON.items() if k != "intermediate_size"}, **DELTA, num_hidden_layers=2, linear_num_value_heads=4,
            tie_word_embeddings=False, layer_types=["linear_attention", "full_attention"],
            moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=6, num_experts_per_tok=2,
        ),
        6,
    ),
}  # fmt: skip


def draw(name: str, shape: tuple[int, ...], config, generator: torch.Generator) -> torch.Tensor:
    """Weights that keep activations near 1 and exercise every term: no zero norms, no dead gates."""
    normal = torch.randn(*shape, generator=generator)
    uniform = torch.rand(*shape, generator=generator)
    if name.endswith("A_log"):
        return torch.log(0.3 + 5.7 * uniform)
    if name.endswith("dt_bias"):
        dt = torch.exp(math.log(0.004) + uniform * math.log(100))
        return dt + torch.log(-torch.expm1(-dt))  # inverse softplus
    if "norm" in name:
        zero_centred = config.model_type.startswith(("gemma3", "qwen3_5")) and "linear_attn" not in name
        per_head = name.endswith(("q_norm.weight", "k_norm.weight"))
        louder = 2.0 if config.tie_word_embeddings and "post_" in name and zero_centred else 0.0
        return (0.0 if zero_centred else 1.0) + (0.5 if per_head else 0.05) + louder + 0.25 * normal
    if "conv1d" in name:
        normal[..., -1] += 1
        return 0.5 * normal
    if "embed_tokens" in name:
        return normal * (0.15 if config.tie_word_embeddings else 0.7)
    if config.tie_word_embeddings and ("o_proj" in name or "down_proj" in name):
        return normal * (4 / math.sqrt(shape[-1]))  # else a tied head repeats the last token
    return normal * ((2.5 if "lm_head" in name or name.endswith("mlp.gate.weight") else 1.0) / math.sqrt(shape[-1]))


def make(stem: str, arguments: dict, seed: int, out: Path) -> None:
    config_class = getattr(transformers, stem + ("TextConfig" if stem.startswith(("Qwen3_5", "Gemma3")) else "Config"))
    config = config_class(**arguments)
    config._attn_implementation = config._experts_implementation = "eager"
    model = getattr(transformers, stem + "ForCausalLM")(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(draw(name, tuple(parameter.shape), config, generator).to(torch.bfloat16).float())
        model.tie_weights()
        reference = run(model, torch.randint(3, VOCAB, (1, PROMPT), generator=generator))
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    (out / "model.safetensors").chmod(0o644)
    np.savez_compressed(out / "reference.npz", **reference)
    print(
        f"{out.name}: logits std {reference['prefill_logits'].std():.2f}, greedy {reference['greedy_tokens'].tolist()}"
    )


def token_by_token(model, prompt: torch.Tensor):
    """Logits f32 [tokens, vocab] of a prompt [1, tokens], and the cache behind it."""
    cache, rows = None, []
    for at in range(prompt.shape[1]):
        step = model(input_ids=prompt[:, at : at + 1], cache=cache, use_cache=True)
        cache = step.cache
        rows.append(step.logits[0, -1].numpy())
    return np.stack(rows), cache


def run(model, prompt: torch.Tensor) -> dict[str, np.ndarray]:
    whole = model(input_ids=prompt, use_cache=True)
    reference = {"tokens": prompt[0].numpy().astype(np.int32), "prefill_logits": whole.logits[0].numpy()}
    reference["last_hidden"] = model.model(input_ids=prompt).last_hidden_state[0].numpy()
    cache, token, tokens, logits = whole.cache, whole.logits[:, -1:].argmax(-1), [], []
    for _ in range(GREEDY):
        tokens.append(int(token))
        step = model(input_ids=token, cache=cache, use_cache=True)
        logits.append(step.logits[0, -1].numpy())
        token = step.logits[:, -1:].argmax(-1)
    reference |= {"greedy_tokens": np.array(tokens, np.int32), "greedy_logits": np.stack(logits)}
    reference["stepwise_logits"], cache = token_by_token(model, prompt)
    for at, layer in enumerate(cache.layers):
        if hasattr(layer, "conv_states"):
            reference[f"state.{at}.window"] = layer.conv_states[0][0].numpy()
            reference[f"state.{at}.memory"] = layer.recurrent_states[0][0].numpy()
        else:  # a sliding layer keeps only its window
            reference[f"state.{at}.k"], reference[f"state.{at}.v"] = layer.keys[0].numpy(), layer.values[0].numpy()
    return reference


def to_official_layout(folder: Path) -> None:
    """As the Qwen 3.5 releases are laid out: nested config, prefix model.language_model., fused experts."""
    config = json.loads((folder / "config.json").read_text())
    architectures = config.pop("architectures")
    nested = {
        "architectures": architectures,
        "model_type": "qwen3_5_moe",
        "tie_word_embeddings": False,
        "text_config": config,
    }
    (folder / "config.json").write_text(json.dumps(nested, indent=1))
    tensors = {
        name.replace("model.", "model.language_model.", 1): t
        for name, t in load_file(folder / "model.safetensors").items()
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.language_model.layers.{layer}.mlp.experts."
        if prefix + "gate_up_proj" in tensors:
            continue
        experts = range(config["num_experts"])
        gate, up, down = (
            [tensors.pop(f"{prefix}{e}.{part}_proj.weight") for e in experts] for part in ("gate", "up", "down")
        )
        tensors[prefix + "gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(gate, up)])
        tensors[prefix + "down_proj"] = torch.stack(down)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def write_gguf(path: Path, arch: str, keys: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Matrices as BF16, vectors and the convolution as F32, like llama.cpp's converter."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        if isinstance(value, list):
            writer.add_array(f"{arch}.{key}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"{arch}.{key}", value)
        else:
            writer.add_float32(f"{arch}.{key}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{n}" for n in range(VOCAB)])
    writer.add_eos_token_id(2)
    for name, tensor in tensors.items():
        if tensor.ndim == 1 or "conv1d" in name:
            writer.add_tensor(name, tensor.float().numpy())
        else:
            bits = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
            writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


ATTENTION_KEYS = {
    "embedding_length": HIDDEN, "feed_forward_length": FFN, "context_length": 256, "attention.head_count": 4,
    "attention.head_count_kv": 2, "attention.key_length": HEAD, "attention.value_length": HEAD,
    "attention.layer_norm_rms_epsilon": 1e-6,
}  # fmt: skip


def llama_gguf(folder: Path) -> None:
    """q and k rows as interleaved RoPE pairs; llama3's scaling as the tensor rope_freqs."""
    source = load_file(folder / "model.safetensors")
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    tensors = {
        "token_embd.weight": source["model.embed_tokens.weight"],
        "output_norm.weight": source["model.norm.weight"],
    }
    for layer in range(2):
        for hf, other in names.items():
            x = source[f"model.layers.{layer}.{hf}.weight"]
            if other in ("attn_q", "attn_k"):
                heads = x.shape[0] // HEAD
                x = x.reshape(heads, 2, HEAD // 2, HIDDEN).swapaxes(1, 2).reshape(x.shape)
            tensors[f"blk.{layer}.{other}.weight"] = x
    config = transformers.LlamaConfig.from_pretrained(folder)
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / (1e4 ** (torch.arange(0, HEAD, 2).float() / HEAD))
    tensors["rope_freqs.weight"] = plain / scaled
    keys = {
        **ATTENTION_KEYS,
        "block_count": 2,
        "rope.dimension_count": HEAD,
        "rope.freq_base": 1e4,
        "vocab_size": VOCAB,
    }
    write_gguf(folder / "model.gguf", "llama", keys, tensors)


def tile_heads(x: torch.Tensor, size: int, dim: int = 0) -> torch.Tensor:
    """Value heads from HF's order (those of one key head together) to llama.cpp's (key head = head % key heads)."""
    moved = x.movedim(dim, 0)
    tiled = moved.reshape(2, -1, size, *moved.shape[1:]).swapaxes(0, 1).reshape(moved.shape)
    return tiled.movedim(0, dim).contiguous()


def qwen3_5_gguf(folder: Path) -> None:
    """Norms with their 1 added, value heads tiled, ssm_a = -exp(A_log)."""
    source = load_file(folder / "model.safetensors")
    dk = dv = 16
    k_heads, v_heads = 2, 6
    tensors = {
        "token_embd.weight": source["model.embed_tokens.weight"], "output.weight": source["lm_head.weight"],
        "output_norm.weight": source["model.norm.weight"].float() + 1,
    }  # fmt: skip
    plain = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.q_proj": "attn_q",
             "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output"}  # fmt: skip
    norms = {"input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm", "self_attn.q_norm": "attn_q_norm",
             "self_attn.k_norm": "attn_k_norm"}  # fmt: skip
    for layer in range(3):
        blk, hf = f"blk.{layer}.", f"model.layers.{layer}."
        for name, other in plain.items():
            if f"{hf}{name}.weight" in source:
                tensors[f"{blk}{other}.weight"] = source[f"{hf}{name}.weight"]
        for name, other in norms.items():
            if f"{hf}{name}.weight" in source:
                tensors[f"{blk}{other}.weight"] = source[f"{hf}{name}.weight"].float() + 1
        if f"{hf}linear_attn.A_log" not in source:
            continue
        delta = {
            name.removeprefix(hf + "linear_attn."): x
            for name, x in source.items()
            if name.startswith(hf + "linear_attn.")
        }
        for name, other in (("in_proj_qkv.weight", "attn_qkv.weight"), ("conv1d.weight", "ssm_conv1d.weight")):
            x = delta[name].squeeze()
            keys, values = x[: 2 * k_heads * dk], x[2 * k_heads * dk :]
            tensors[blk + other] = torch.cat([keys, tile_heads(values, dv)])
        tensors[blk + "attn_gate.weight"] = tile_heads(delta["in_proj_z.weight"], dv)
        tensors[blk + "ssm_alpha.weight"] = tile_heads(delta["in_proj_a.weight"], 1)
        tensors[blk + "ssm_beta.weight"] = tile_heads(delta["in_proj_b.weight"], 1)
        tensors[blk + "ssm_a"] = tile_heads(-torch.exp(delta["A_log"].float()), 1)
        tensors[blk + "ssm_dt.bias"] = tile_heads(delta["dt_bias"], 1)
        tensors[blk + "ssm_norm.weight"] = delta["norm.weight"]
        tensors[blk + "ssm_out.weight"] = tile_heads(delta["out_proj.weight"], dv, dim=1)
    keys = {
        **ATTENTION_KEYS, "block_count": 3, "rope.dimension_count": 8, "rope.freq_base": 1e5, "rope.dimension_sections": [2, 1, 1, 0],
        "ssm.conv_kernel": 4, "ssm.state_size": dk, "ssm.group_count": k_heads, "ssm.time_step_rank": v_heads,
        "ssm.inner_size": v_heads * dv, "full_attention_interval": 3,
    }  # fmt: skip
    write_gguf(folder / "model.gguf", "qwen35", keys, tensors)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "tests/data/models")
    torch.set_num_threads(1)
    for folder, (stem, arguments, seed) in MODELS.items():
        make(stem, arguments, seed, root / folder)
    to_official_layout(root / "qwen3_5_moe_text")
    llama_gguf(root / "llama")
    qwen3_5_gguf(root / "qwen3_5_text")


if __name__ == "__main__":
    main()

"""Settings that most families read alike: `usual hidden, layers` in a config block stands for their lines here."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from hfc.base.diagnostics import Span

# name: what it is in a block `config hf`, and in a block `config gguf`
USUAL: dict[str, dict[str, str]] = {
    name: {"hf": hf, "gguf": gguf}
    for name, hf, gguf in (
        ("hidden", "hidden_size", "embedding_length"),
        ("layers", "num_hidden_layers", "block_count"),
        ("ffn", "intermediate_size", "feed_forward_length"),
        ("vocab", "vocab_size", 'shape("token_embd.weight")[0] or vocab_size'),  # not all files have the key
        ("heads", "num_attention_heads", "attention.head_count"),
        (
            "kv_heads",
            "num_key_value_heads or num_attention_heads",
            "attention.head_count_kv or attention.head_count",
        ),
        (
            "head",
            "head_dim or hidden_size // num_attention_heads",
            "attention.key_length or embedding_length // attention.head_count",
        ),
        ("theta", "rope_parameters.rope_theta or rope_theta or 10000", "rope.freq_base or 10000"),
        ("scaled", "rope_scaling()", "rope_scaling()"),
        (
            "context",
            "scaled_context(max_position_embeddings, rope_scaling())",
            "scaled_context(context_length, rope_scaling())",
        ),
        ("eps", "rms_norm_eps", "attention.layer_norm_rms_epsilon"),
        ("tied", "tie_word_embeddings or false", "false"),  # in GGUF said by the absence of output.weight
        ("experts", "num_experts or num_local_experts", "expert_count"),
        ("top", "num_experts_per_tok", "expert_used_count"),
    )
}


def usual_text(source: str) -> str:
    """A model file whose config block sets all of them."""
    lines = "\n".join(f"{name} = {meaning[source]}" for name, meaning in USUAL.items())
    return f"model usual {{ config {source} {{ {lines} }} graph(tokens) {{ return tokens }} }}"


def placed(node: Any, span: Span) -> Any:
    """A syntax tree as if all of it stood at `span`: faults in it are the line's that asked for it."""
    if isinstance(node, Span):
        return span
    if isinstance(node, tuple):
        return tuple(placed(part, span) for part in node)
    if is_dataclass(node):
        return replace(node, **{f.name: placed(getattr(node, f.name), span) for f in fields(node)})
    return node

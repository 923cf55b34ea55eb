"""Config keys that cannot change a result, whatever the model: known by what their names say or by a neutral value.

A model file describes all mathematics of a model and asks for every key that steers it. Another key is left out if
  - its name is bookkeeping: who made the file and with what, training, how outputs are returned, tokens and labels, how text
    is sampled, other modalities, which implementation computes it; or
  - its value is neutral: a switch that is off (but for those whose two sides are rules), no items, a factor of 1; or
  - it is a parameter of a switch that is off.
Everything else stops: it may be another variant of the model. docs/model-language.md says the same to users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

MAKERS = (
    "_*", "unsloth_*", "transformers*", "*_version", "*name_or_path", "auto_map", "architectures", "model_type", "is_*_config",
)  # fmt: skip
TRAINING = (
    "*dropout*", "*_pdrop", "*_loss*", "init_*", "*initializer*", "gradient_checkpointing", "pretraining_tp", "finetuning_task",
)  # fmt: skip
OUTPUTS = (
    "return_*", "output_hidden_states", "output_attentions", "output_router_logits", "output_scores", "use_return_dict",
    "problem_type", "task_specific_params", "pruned_heads", "*pooling_type",
)  # fmt: skip
TOKENS = ("*_token", "*_token_id", "*_token_ids", "*_token_index", "tokenizer_class", "id2label", "label2id", "prefix")
SAMPLING = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "*_penalty", "num_beam*", "num_return_sequences",
    "max_length", "min_length", "max_new_tokens", "early_stopping", "*no_repeat_ngram_size", "bad_words_ids", "*suppress_tokens",
)  # fmt: skip
# Text has one stream of positions, so that RoPE in several streams (mRoPE) is RoPE.
MODALITIES = (
    "vision*", "image*", "video*", "audio*", "clip.*", "mm_*", "*mrope_*", "*dimension_sections", "language_model_only",
)  # fmt: skip
IMPLEMENTATION = (
    "use_cache", "is_decoder", "cache_implementation", "torchscript", "*dtype", "*implementation*", "chunk_size_feed_forward",
    "*use_flash*", "use_*kernels", "use_*mambapy", "use_associative_scan", "mamba_chunk_size", "residual_in_fp32", "num_logits_to_keep",
)  # fmt: skip
BOOKKEEPING = (*MAKERS, *TRAINING, *OUTPUTS, *TOKENS, *SAMPLING, *MODALITIES, *IMPLEMENTATION)

OFF = ("", "none", "default")
FACTORS = (
    "*logit*scal*", "*residual*scal*", "*residual*multiplier", "*embedding*scal*", "*embedding*multiplier", "*factor", "*_tp",
)  # fmt: skip
TRUE = ("*causal",)  # what every model here is
EITHER = ("expert_weights_norm", "norm_top*k_prob")  # off is as much of a rule as on

# switch -> the keys that steer what it turns on
SWITCHES = {
    "use_sliding_window": ("sliding_window", "max_window_layers"),
    "num_experts": ("*expert*", "moe_*", "router_*", "norm_top*k_prob"),
    "num_local_experts": ("*expert*", "moe_*", "router_*", "norm_top*k_prob"),
    "expert_count": ("expert*", "moe_*", "router_*", "norm_top*k_prob"),
}


def is_harmless(key: str, keys: Mapping[str, Any]) -> bool:
    """key: with dots, a leaf of `keys`."""
    return is_bookkeeping(key) or is_neutral(key, _value(keys, key)) or _is_switched_off(key, keys)


def is_bookkeeping(key: str) -> bool:
    """By its name, the name of what holds it, or its last part."""
    return any(matches(name, BOOKKEEPING) for name in (*prefixes(key), key.rpartition(".")[2]))


def is_neutral(key: str, value: Any) -> bool:
    if isinstance(value, bool) and matches(key, EITHER):
        return False
    if isinstance(value, (list, tuple)):
        return all(is_neutral(key, item) for item in value)
    if isinstance(value, bool):
        return value == matches(key, TRUE)
    if value is None:
        return True
    if isinstance(value, str):
        return value.lower() in OFF
    if isinstance(value, (int, float)):
        return value == (1 if matches(key, FACTORS) else 0)
    return False


def _is_switched_off(key: str, keys: Mapping[str, Any]) -> bool:
    found = [(switch, patterns) for switch, patterns in SWITCHES.items() if matches(key, patterns)]
    return any(switch in keys and not keys[switch] for switch, _ in found)


def _value(keys: Mapping[str, Any], key: str) -> Any:
    """Of a flat key as GGUF has it, or of nested ones."""
    if key in keys:
        return keys[key]
    value: Any = keys
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def prefixes(key: str) -> list[str]:
    """ "a.b.c" -> "a", "a.b", "a.b.c" """
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)

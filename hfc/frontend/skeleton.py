"""A config and a checkpoint's tensors to the beginning of a model file: every key and every tensor classified, the graph of a Llama."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hfc.frontend import positions
from hfc.frontend.config import text_config
from hfc.frontend.evaluate import show
from hfc.frontend.harmless import is_harmless
from hfc.frontend.recipes import Inventory
from hfc.frontend.skeleton_weights import weight_rows, weight_tables
from hfc.frontend.usual import USUAL

# Our name, the keys of config.json that it may come from, and what it is taken to be where there is none.
SETTINGS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("hidden", ("hidden_size", "n_embd", "d_model"), ""),
    ("layers", ("num_hidden_layers", "n_layer", "num_layers"), ""),
    ("ffn", ("intermediate_size", "n_inner", "ffn_hidden_size"), ""),
    ("vocab", ("vocab_size",), ""),
    ("heads", ("num_attention_heads", "n_head"), ""),
    ("kv_heads", ("num_key_value_heads", "num_kv_heads"), "heads"),
    ("head", ("head_dim",), "hidden // heads"),
    ("eps", ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"), "1e-6"),
    ("theta", ("rope_parameters.rope_theta", "rope_theta"), "10000"),
    ("context", ("max_position_embeddings", "n_positions", "max_seq_len"), "2048"),
    ("tied", ("tie_word_embeddings",), "false"),
    ("experts", ("num_experts", "num_local_experts", "n_routed_experts"), ""),
    ("top", ("num_experts_per_tok", "num_experts_per_token"), ""),
    ("expert_ffn", ("moe_intermediate_size", "expert_intermediate_size"), ""),
)
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SHAPES = ("hidden", "vocab", "ffn", "expert_ffn", "head", "experts", "heads")
OF_MIXTURES = ("experts", "top", "expert_ffn")
ACTIVATION = re.compile(r"(^|_)act(ivation)?(_fn|_function)?$")
ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "relu": "relu",
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_tanh"), "gelu_tanh"),
}  # fmt: skip
NOTE = "use it, keep this line if the graph is written for the value, or ignore it"


def skeleton(config: Mapping[str, Any], inventory: Inventory | None, origin: str) -> str:
    """The text of a model file that parses, and says in comments what it does not know."""
    keys = text_config(config)
    model = re.sub(r"\W", "_", str(keys.get("model_type") or "my_model"))
    sizes = _sizes(keys)
    layers = sizes.get("layers", 0)
    rows = weight_rows(inventory, layers) if inventory else []
    names = {"embed", *(row.name for row in rows)}
    parts = [
        f"# {_first(keys.get('architectures')) or model}, begun from {origin}. Lines with ? are for you to decide; docs/add-a-model.md.",
        f"model {model} {{",
        *_config_block(keys, model, bool(rows) and "lm_head" not in names),
        *weight_tables(rows, sizes, layers),
        *_graph(names, *_activation(keys)),
        "}",
    ]
    return "\n".join(parts) + "\n"


def _first(items: Any) -> str:
    return str(items[0]) if isinstance(items, list) and items else ""


def _at(keys: Mapping[str, Any], dotted: str) -> Any:
    value: Any = keys
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _sizes(keys: Mapping[str, Any]) -> dict[str, int]:
    """Our names for the numbers that shapes may be made of, likelier ones first; then the other numbers of the config."""
    found = {
        name: value
        for name, candidates, _ in SETTINGS
        for value in [next((v for v in (_at(keys, c) for c in candidates) if v is not None), None)]
        if type(value) is int
    }
    if {"hidden", "heads"} <= found.keys() and found["heads"]:
        found.setdefault("kv_heads", found["heads"])
        found.setdefault("head", found["hidden"] // found["heads"])
    ours = {key for _, candidates, _ in SETTINGS for key in candidates}
    more = {
        key: value for key, value in _leaves(keys) if type(value) is int and value > 1 and not is_harmless(key, keys)
    }
    return {
        **{name: found[name] for name in SHAPES if name in found},
        **found,
        **{k: v for k, v in more.items() if k not in ours},
    }


def _config_block(keys: Mapping[str, Any], model: str, is_headless: bool) -> list[str]:
    lines, usual, used = list[str](), list[str](), set[str]()
    for name, candidates, otherwise in SETTINGS:
        known = [c for c in candidates if _at(keys, c) is not None]
        used.update(known)
        if not known:
            lines += _missing(name, candidates, "true" if name == "tied" and is_headless else otherwise)
        elif name in USUAL and set(known) <= set(re.findall(r"[\w.]+", USUAL[name]["hf"])):
            usual.append(name)
        else:
            lines.append(f"    {name:9} = {' or '.join(known)}")
    lines = [f'  config hf "{model}" {{', f"    usual {', '.join([*usual, 'scaled'])}", *lines]
    used.update(f"{key}.{name}" for key in positions.KEYS["hf"] for name in positions.READ)
    for key, value in _leaves(keys):
        used.difference_update({key} if positions.turns_a_part(keys, key) else ())
        if key in used or any(key.startswith(u + ".") for u in used) or is_harmless(key, keys):
            continue
        if isinstance(value, (bool, int, float, str)):
            lines.append(f"    require {key} == {show(value)}   # ? {NOTE}")
        else:
            shown = show(value)
            lines.append(f"    # ? {key} is {shown if len(shown) <= 80 else shown[:77] + '...'}: {NOTE}")
    return [*lines, "  }", ""]


def _missing(name: str, candidates: Sequence[str], otherwise: str) -> list[str]:
    """The line of a setting that the config says nothing about; none for what only mixtures have."""
    if name in OF_MIXTURES:
        return []
    keys = f"the config has no {' or '.join(candidates)}"
    if not otherwise:
        return [f"    # ? {name}: {keys}"]
    return [f"    {name:9} = {otherwise}   # ? {keys}: the modelling code has its default"]


def _activation(keys: Mapping[str, Any]) -> tuple[str, str]:
    """The function between an MLP's products, and what is not certain about it."""
    for key, value in keys.items():
        if isinstance(value, str) and ACTIVATION.search(key):
            name = ACTIVATIONS.get(value)
            return name or "silu", "" if name == "silu" else f"   # ? {key} is {show(value)}"
    return "silu", ""


def _leaves(keys: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _graph(names: set[str], activation: str, doubt: str) -> list[str]:
    head = "lm_head" if "lm_head" in names else "embed"
    if not {"embed", *LLAMA} <= names:
        known = ", ".join(sorted(names)) or "none yet"
        body = f"    # ? write the layers from the modelling code: {known}\n    return linear(x, {head})"
        return ["  graph(tokens) {", "    x = gather(embed, tokens)", body, "  }"]

    def norm(name: str, x: str) -> str:
        return f"rms_norm({x}, {name}, eps)" if name in names else x

    before = [n for n in ("input_layernorm", "post_attention_layernorm") if n in names]
    first, second = (before + ["", ""])[:2]
    used = {"embed", "final_norm", "lm_head", "q_norm", "k_norm", *LLAMA, *before}
    unused = sorted(names - used)
    return [
        f"  # ? not read by this graph yet: {', '.join(unused)}" if unused else "  # every tensor is read; compare the order with the modelling code",
        "  layer self_attention(x, i) {",
        "    angles = rope_table(head, theta, null, scaled)",
        f"    q = rope({norm('q_norm', 'reshape(linear(x, q_proj), [heads, head])')}, angles)",
        f"    k = rope({norm('k_norm', 'reshape(linear(x, k_proj), [kv_heads, head])')}, angles)",
        "    v = reshape(linear(x, v_proj), [kv_heads, head])",
        "    state kv = kv_cache(kv_heads, head)",
        "    return linear(flatten(attention(q, k, v, kv, scale = head ** -0.5)), o_proj)",
        "  }",
        "  layer mlp(x, i) {",
        f"    return linear({activation}(linear(x, gate_proj)) * linear(x, up_proj), down_proj){doubt}",
        "  }",
        "  graph(tokens) {",
        "    x = gather(embed, tokens)",
        "    for i in layers {",
        f"      x = x + self_attention({norm(first, 'x')}, i)",
        f"      x = x + mlp({norm(second, 'x')}, i)",
        "      tap x as hidden[i]",
        "    }",
        f"    return linear({norm('final_norm', 'x')}, {head})",
        "  }",
    ]  # fmt: skip

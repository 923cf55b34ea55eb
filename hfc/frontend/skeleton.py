"""A config and a checkpoint's tensors to the beginning of a model file: every key and every tensor classified, the graph of a Llama."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.frontend import positions
from hfc.frontend.config import text_config
from hfc.frontend.evaluate import show
from hfc.frontend.harmless import is_harmless
from hfc.frontend.recipes import Inventory
from hfc.frontend.usual import USUAL

# Our name, the keys of config.json that it may come from, and what else it is where there is none.
SETTINGS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("hidden", ("hidden_size", "n_embd", "d_model"), ""),
    ("layers", ("num_hidden_layers", "n_layer", "num_layers"), ""),
    ("ffn", ("intermediate_size", "n_inner", "ffn_hidden_size"), ""),
    ("vocab", ("vocab_size",), ""),
    ("heads", ("num_attention_heads", "n_head"), ""),
    ("kv_heads", ("num_key_value_heads",), "num_attention_heads"),
    ("head", ("head_dim",), "hidden_size // num_attention_heads"),
    ("eps", ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"), ""),
    ("theta", ("rope_parameters.rope_theta", "rope_theta"), "10000"),
    ("context", ("max_position_embeddings", "n_positions"), ""),
    ("tied", ("tie_word_embeddings",), "false"),
    ("experts", ("num_experts", "num_local_experts", "n_routed_experts"), ""),
    ("top", ("num_experts_per_tok", "num_experts_per_token"), ""),
    ("expert_ffn", ("moe_intermediate_size", "expert_intermediate_size"), ""),
)
NAMED = {
    "embed_tokens": "embed",
    "norm": "final_norm",
}  # last words of tensors of the whole model, and what we call them
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYER = re.compile(r"^(?:model\.|language_model\.|model\.language_model\.)?layers\.(\d+)\.(.+)$")
PREFIX = re.compile(r"^(?:model\.language_model\.|language_model\.model\.|model\.)")
NOTE = "use it, keep this line if the graph is written for the value, or ignore it"


@dataclass
class _Row:
    """One weight of the table. layers: those that have it, None for a weight of the whole model."""

    name: str
    shape: tuple[int, ...]
    text: str
    layers: set[int] | None = None
    members: set[int] = field(default_factory=set)  # experts


def skeleton(config: Mapping[str, Any], inventory: Inventory | None, origin: str) -> str:
    """The text of a model file that parses, and says in comments what it does not know."""
    keys = text_config(config)
    model = re.sub(r"\W", "_", str(keys.get("model_type") or "my_model"))
    sizes = _sizes(keys)
    rows = _rows(inventory) if inventory else []
    parts = [
        f"# {_first(keys.get('architectures')) or model}, begun from {origin}. Lines with ? are for you to decide; docs/add-a-model.md.",
        f"model {model} {{",
        *_config_block(keys, model),
        *_weight_tables(rows, sizes, int(sizes.get("layers", 0))),
        *_graph({row.name for row in rows}),
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
    """Our names for the numbers that shapes may be made of."""
    found = {
        name: value
        for name, candidates, _ in SETTINGS
        for value in [next((v for v in (_at(keys, c) for c in candidates) if v is not None), None)]
        if type(value) is int
    }
    if {"hidden", "heads"} <= found.keys() and found["heads"]:
        found.setdefault("kv_heads", found["heads"])
        found.setdefault("head", found["hidden"] // found["heads"])
    return found


def _config_block(keys: Mapping[str, Any], model: str) -> list[str]:
    lines, usual, used = list[str](), list[str](), set[str]()
    for name, candidates, otherwise in SETTINGS:
        known = [c for c in candidates if _at(keys, c) is not None]
        if not known and not otherwise:
            continue
        used.update(known)
        if name in USUAL and set(known) <= set(re.findall(r"[\w.]+", USUAL[name]["hf"])):
            usual.append(name)
        else:
            lines.append(f"    {name:9} = {' or '.join([*known, *([otherwise] if otherwise else [])])}")
    lines = [f'  config hf "{model}" {{', f"    usual {', '.join([*usual, 'scaled'])}", *lines]
    used.update(f"{key}.{name}" for key in positions.KEYS["hf"] for name in positions.READ)
    for key, value in _leaves(keys):
        if key in used or any(key.startswith(u + ".") for u in used) or is_harmless(key, keys):
            continue
        if isinstance(value, (bool, int, float, str)):
            lines.append(f"    require {key} == {show(value)}   # ? {NOTE}")
        else:
            lines.append(f"    # ? {key} is {show(value)[:80]}: {NOTE}")
    return [*lines, "  }", ""]


def _leaves(keys: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _rows(inventory: Inventory) -> list[_Row]:
    found: dict[str, _Row] = {}
    for tensor in inventory.names():
        layer = LAYER.match(tensor)
        rest = layer[2] if layer else PREFIX.sub("", tensor)
        expert = re.search(r"\.experts\.(\d+)\.", rest)
        text = rest.replace(f".experts.{expert[1]}.", ".experts.{e}.") if expert else rest
        key = ("layer " if layer else "") + text
        if key not in found:
            name = _name(text, {row.name for row in found.values()})
            whole = not layer and tensor == rest and not text.startswith(("embed_tokens", "norm"))
            found[key] = _Row(name, tuple(inventory.info(tensor).shape), ("/" if whole else "") + text)
        row = found[key]
        if layer:
            row.layers = {*(row.layers or ()), int(layer[1])}
        if expert:
            row.members.add(int(expert[1]))
    return list(found.values())


def _name(text: str, taken: set[str]) -> str:
    """A short name of its own: the last words of the tensor's name, as many as it takes."""
    words = [w for w in text.removesuffix(".weight").split(".") if w and w != "{e}" and not w.isdigit()]
    for count in range(1, len(words) + 1):
        name = re.sub(r"\W", "_", "_".join(words[-count:]))
        name = NAMED.get(name, name) if count == 1 and len(words) == 1 else name
        if name not in taken:
            return name
    return re.sub(r"\W", "_", text)


def _weight_tables(rows: list[_Row], sizes: Mapping[str, int], layers: int) -> list[str]:
    lines = ["  weights"] + [_line(row, sizes) for row in rows if row.layers is None]
    for which in sorted({frozenset(row.layers) for row in rows if row.layers is not None}, key=sorted):
        everywhere = which == frozenset(range(layers))
        where = "" if everywhere else f"   # ? of {len(which)} layers only ({_few(which)}): `where` says which"
        lines += [f"  weights layer i{where}", *(_line(row, sizes) for row in rows if row.layers == which)]
    if not rows:
        lines.append("    # ? give a checkpoint beside the config, and the tensors are listed here")
    return [*lines, ""]


def _few(numbers: frozenset[int]) -> str:
    shown = sorted(numbers)
    return ", ".join(map(str, shown[:6])) + (", ..." if len(shown) > 6 else "")


def _line(row: _Row, sizes: Mapping[str, int]) -> str:
    shape = [_dimension(n, sizes) for n in row.shape]
    text = f'"{row.text}"'
    if row.members:
        shape, text = ["experts", *shape], f"stack(e in experts, {text})"
    size = f"[{', '.join(shape)}]" + (" = embed if tied" if row.name == "lm_head" else "")
    return f"    {row.name:16} {size:28} {text}"


def _dimension(size: int, sizes: Mapping[str, int]) -> str:
    """The setting, or the product of two, that a size is."""
    order = ("hidden", "vocab", "ffn", "expert_ffn", "head", "experts")
    for name in order:
        if sizes.get(name) == size:
            return name
    for heads in ("heads", "kv_heads"):
        if sizes.get(heads, 0) * sizes.get("head", 0) == size:
            return f"{heads} * head"
    return str(size)


def _graph(names: set[str]) -> list[str]:
    if not {"embed", *LLAMA} <= names:
        known = ", ".join(sorted(names)) or "none yet"
        body = f"    # ? write the layers from the modelling code: {known}\n    return linear(x, embed)"
        return ["  graph(tokens) {", "    x = gather(embed, tokens)", body, "  }"]

    def norm(name: str, x: str) -> str:
        return f"rms_norm({x}, {name}, eps)" if name in names else x

    before = [n for n in ("input_layernorm", "post_attention_layernorm") if n in names]
    first, second = (before + ["", ""])[:2]
    used = {"embed", "final_norm", "lm_head", "q_norm", "k_norm", *LLAMA, *before}
    unused = sorted(names - used)
    head = "lm_head" if "lm_head" in names else "embed"
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
        "    return linear(silu(linear(x, gate_proj)) * linear(x, up_proj), down_proj)",
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

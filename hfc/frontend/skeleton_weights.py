"""A checkpoint's tensors to the weight tables of a model file that is begun: one row for all layers, sizes in settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field

from hfc.base.dataclass import dataclass
from hfc.frontend.recipes import HF_PREFIXES, LAYER_PREFIX, Inventory

# Tensors of the whole model by the last word of their names, and what the graph calls them.
ROLES = (
    ("embed", 2, re.compile(r"embed_tokens|wte|word_embeddings?|embed_in|tok_embeddings|token_embedding|embeddings?")),
    ("places", 2, re.compile(r"wpe|embed_positions|position_embeddings?")),
    ("final_norm", 1, re.compile(r"norm|ln_f|norm_f|ln_out|final_(layer_?)?norm")),
    ("lm_head", 2, re.compile(r"lm_head|embed_out|output")),
)
# Shapes that these names always mean, whatever else has the same size.
MEANT: dict[str, tuple[str, ...]] = {
    "embed": ("vocab", "hidden"), "lm_head": ("vocab", "hidden"), "q_proj": ("heads * head", "hidden"),
    "k_proj": ("kv_heads * head", "hidden"), "v_proj": ("kv_heads * head", "hidden"), "o_proj": ("hidden", "heads * head"),
    "gate_proj": ("ffn", "hidden"), "up_proj": ("ffn", "hidden"), "down_proj": ("hidden", "ffn"),
    "final_norm": ("hidden",), "places": ("context", "hidden"),
}  # fmt: skip
NORM = re.compile(r"(norm|ln)(_|\d|$)|layernorm")
ATTENTION = re.compile(r"attn|attention|[qkvo]_proj")
NUMBERED = re.compile(r"^(.*?\.)??(\d+)\.(.+)$")


@dataclass
class TensorRow:
    """One weight of the table. layers: those that have it, None for a weight of the whole model."""

    name: str
    text: str
    shapes: dict[tuple[int, ...], None] = field(default_factory=dict)
    layers: set[int] | None = None
    members: set[int] = field(default_factory=set)  # experts

    @property
    def shape(self) -> tuple[int, ...]:
        return next(iter(self.shapes))


def weight_rows(inventory: Inventory, layers: int) -> list[TensorRow]:
    """One row for the tensors that differ by the number of a layer, or of an expert, alone."""
    stem = layer_stem(inventory, layers)
    found: dict[str, TensorRow] = {}
    for tensor in inventory.names():
        match = NUMBERED.match(tensor)
        layer = int(match[2]) if match and match[1] == stem else None
        text = tensor if layer is None or match is None else match[3]
        expert = re.search(r"\.experts\.(\d+)\.", text)
        text = text.replace(f".experts.{expert[1]}.", ".experts.{e}.") if expert else text
        key = f"{layer is not None} {text}"
        shape = tuple(inventory.info(tensor).shape)
        if key not in found:
            name = _name(text, len(shape) if layer is None else None, {row.name for row in found.values()})
            found[key] = TensorRow(name, _placed(text, layer is not None, stem))
        row = found[key]
        row.shapes[shape] = None
        if layer is not None:
            row.layers = {*(row.layers or ()), layer}
        if expert:
            row.members.add(int(expert[1]))
    return list(found.values())


def layer_stem(inventory: Inventory, layers: int) -> str | None:
    """What stands before the number of a layer, as "model.layers.": with numbers 0 to layers - 1, or else before most numbers."""
    seen: dict[str, list[int]] = {}
    for tensor in inventory.names():
        if (match := NUMBERED.match(tensor)) and match[1]:
            seen.setdefault(match[1], []).append(int(match[2]))
    whole = {stem: numbers for stem, numbers in seen.items() if set(numbers) == set(range(max(numbers) + 1))}
    return max(whole, key=lambda stem: (len(set(whole[stem])) == layers, len(whole[stem])), default=None)


def _placed(text: str, in_layer: bool, stem: str | None) -> str:
    """As a weight table writes it: a name below the usual prefixes, or with "/" the whole of it."""
    usual = [prefix + LAYER_PREFIX["hf"].format("") for prefix in HF_PREFIXES]
    if in_layer:
        return text if f"{stem}." in usual else f"/{stem}{{i}}.{text}"
    prefix = next((p for p in sorted(HF_PREFIXES, key=len, reverse=True) if p and text.startswith(p)), "")
    short = text.removeprefix(prefix)
    return short if prefix or short.startswith(("embed_tokens", "norm")) else f"/{text}"


def _name(text: str, rank: int | None, taken: set[str]) -> str:
    """Its role in the graph, or a short name of its own: the last words of the tensor's name, as many as it takes.

    rank: of a tensor of the whole model."""
    words = [w for w in text.removesuffix(".weight").split(".") if w and w != "{e}" and not w.isdigit()]
    if text.endswith(".weight") or len(words) == 1:
        for role, wanted, pattern in ROLES:
            if rank == wanted and pattern.fullmatch(words[-1]) and role not in taken:
                return role
    for count in range(2 if words[-1:] == ["bias"] else 1, len(words) + 1):
        name = re.sub(r"\W", "_", "_".join(words[-count:]))
        if name not in taken and not name[:1].isdigit():
            return name
    return re.sub(r"\W", "_", text)


def weight_tables(rows: Sequence[TensorRow], sizes: Mapping[str, int], layers: int) -> list[str]:
    lines = ["  weights"] + [_line(row, sizes) for row in rows if row.layers is None]
    if all(row.name != "embed" for row in rows):
        lines.append(
            '    embed            [vocab, hidden]              "embed_tokens.weight"   # ? the tensor that tokens are looked up in'
        )
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


def _line(row: TensorRow, sizes: Mapping[str, int]) -> str:
    shape, doubts = _dimensions(row, sizes)
    text = f'"{row.text}"'
    if row.members:
        shape, text = ["experts", *shape], f"stack(e in experts, {text})"
    size = f"[{', '.join(shape)}]" + (" = embed if tied" if row.name == "lm_head" else "")
    return f"    {row.name:16} {size:28} {text}" + (f"   # ? {'; '.join(doubts)}" if doubts else "")


def _dimensions(row: TensorRow, sizes: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The shape in settings, and what is not certain about it."""
    meant = MEANT.get(row.name, ("hidden",) if NORM.search(row.name) else ())
    products = {f"{heads} * head": sizes.get(heads, 0) * sizes.get("head", 0) for heads in ("heads", "kv_heads")}
    fits = len(meant) == len(row.shape) and all(
        {**sizes, **products}.get(name) == size for name, size in zip(meant, row.shape)
    )
    if fits:
        return list(meant), _by_layer(row)
    names = {**sizes, **(products if ATTENTION.search(row.text) else {})}
    for name in ("layers", "top", "context", *(("vocab",) if row.layers is not None else ())):
        names.pop(name, None)
    doubts: dict[str, None] = {f"usually [{', '.join(meant)}]": None} if meant else {}
    shape = list[str]()
    for size in row.shape:
        could_be = [name for name, value in names.items() if value == size > 1]
        shape.append(could_be[0] if could_be else str(size))
        if len(could_be) > 1:
            doubts[f"{could_be[0]} may be {' or '.join(could_be[1:])}"] = None
        elif not could_be and size != 1:
            times = next((n for n in (2, 3, 4) if n * sizes.get("hidden", 0) == size), None)
            doubts[f"{size} {f'may be {times} * hidden' if times else 'is no setting yet'}"] = None
    return shape, [*_by_layer(row), *doubts]


def _by_layer(row: TensorRow) -> list[str]:
    return [f"sizes differ by layer: {', '.join(map(str, map(list, row.shapes)))}"] if len(row.shapes) > 1 else []

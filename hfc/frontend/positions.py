"""What config.json or GGUF metadata says about scaled positions -> one record that `rope_table` takes.

config.json has `rope_parameters` (transformers 5; one for each kind of layer where layers differ) or `rope_scaling` (before).
GGUF has keys below `rope.scaling.`. The record is pairs of names and values, "kind" first, with the names of rope_parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.formats.checkpoint.rope import PARAMETERS, REQUIRED
from hfc.frontend.harmless import is_harmless

FUNCTION = "rope_scaling"  # its name in model files
KEYS = {"hf": ("rope_parameters", "rope_scaling"), "gguf": ("rope.scaling", "rope.scale_linear")}
ORIGINAL = "original_max_position_embeddings"

Record = tuple[tuple[str, Any], ...]

_KINDS = {"mrope": "default", "none": "default", "su": "longrope"}  # names of earlier versions
_ELSEWHERE = ("type", "rope_type", "rope_theta", "theta", "partial_rotary_factor")
_GGUF_NAMES = {
    "original_context_length": ORIGINAL, "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow",
    "yarn_attn_factor": "attention_factor", "yarn_log_multiplier": "mscale_all_dim",
}  # fmt: skip
_GGUF_FACTORS = ("attn_factor", "yarn_ext_factor", "attention_factor")  # llama.cpp multiplies with them: 1 says nothing
READ = {
    *("type", "rope_type", "rope_theta", ORIGINAL),
    *(name for of in PARAMETERS.values() for name in of),
}  # by rope_scaling() itself
PARTIAL = "partial_rotary_factor"  # part of `proportional` RoPE; of others a size, which the model file has to read
_NOT_REFUSED = (ORIGINAL, "finetuned", "max_position_embeddings")  # they stand beside parameters of every kind


def rope_scaling(
    keys: Mapping[str, Any], source: str, layers: str | None, span: Span, mentioned: Collection[str] = ()
) -> Record | None:
    """The record, None where positions are not scaled. layers: which entry of `rope_parameters` ("full_attention").

    mentioned: dotted keys that the model file reads by itself; they are no parameters of the scaling."""
    own = {name.rpartition(".")[2] for name in mentioned if name.startswith(tuple(f"{key}." for key in KEYS[source]))}
    found = _of_gguf(keys) if source == "gguf" else _of_config(keys, layers)
    kind = found.get("rope_type") or found.get("type") or "default"
    kind = _KINDS.get(kind, kind) if isinstance(kind, str) else kind
    if not isinstance(kind, str) or kind not in PARAMETERS:
        raise unknown("RoPE scaling", kind, PARAMETERS, span)
    wanted = PARAMETERS[kind]
    given = {
        name: _frozen(kind, name, value, span) for name, value in found.items() if name in wanted and value is not None
    }
    # llama.cpp multiplies with attn_factor also where a file names no kind
    is_off = kind == "default" and (source == "hf" or bool(found.get("type")))
    for name, value in () if is_off else found.items():
        left_out = name in wanted or name in _ELSEWHERE or name in _NOT_REFUSED or name in own or value is None
        if not left_out and not is_harmless(name, found):
            raise unknown(f"parameter of {kind} RoPE", name, wanted, span)
    if kind == "default":
        return None
    if ORIGINAL in wanted:  # as transformers: a model that does not say was trained for all of its positions
        longest = keys.get("context_length" if source == "gguf" else "max_position_embeddings")
        given.setdefault(ORIGINAL, keys.get(ORIGINAL) or longest)
        if kind == "longrope" and source == "hf" and longest:
            given.setdefault("factor", longest / given[ORIGINAL])
    missing = [name for name, default in wanted.items() if default is REQUIRED and given.get(name) is None]
    if missing:
        raise HfcError(f"{kind} RoPE needs {', '.join(missing)}", span)
    return (("kind", kind), *((name, given[name]) for name in wanted if name in given))


def turns_a_part(keys: Mapping[str, Any], dotted: str) -> bool:
    """Whether a key below rope_parameters says that only a part of each head is turned, which rope_scaling() does not read."""
    *path, name = dotted.split(".")
    if name != PARTIAL or not path or path[0] not in KEYS["hf"]:
        return False
    record: Any = keys
    for part in path:
        record = record.get(part)
    return record.get("rope_type") != "proportional" and record[name] not in (None, 1)


def scaled_context(context: int, record: Record | None) -> int:
    """The longest context: YaRN's configs often still name that of before."""
    given = dict(record or ())
    if given.get("kind") != "yarn":
        return context
    return max(context, int(given["factor"] * given[ORIGINAL]))


def _of_config(keys: Mapping[str, Any], layers: str | None) -> dict[str, Any]:
    parameters = keys.get("rope_parameters")
    if isinstance(parameters, Mapping) and layers is not None and layers in parameters:
        parameters = parameters[layers]
    found = parameters if isinstance(parameters, Mapping) else keys.get("rope_scaling")
    return dict(found) if isinstance(found, Mapping) else {}


def _of_gguf(keys: Mapping[str, Any]) -> dict[str, Any]:
    start = KEYS["gguf"][0] + "."
    found = {k.removeprefix(start): v for k, v in keys.items() if k.startswith(start)}
    found = {_GGUF_NAMES.get(name, name): value for name, value in found.items()}
    if {"attn_factor", ORIGINAL} <= found.keys() and "factor" not in found:
        found.setdefault("type", "longrope")  # llama.cpp's converter says only this of Phi's; the divisors are tensors
    if found.get("type") == "longrope" and "attn_factor" in found:
        found["attention_factor"] = found.pop("attn_factor")
    if found.get("mscale_all_dim"):
        found["mscale"] = 1.0
    found = {k: v for k, v in found.items() if not (k in _GGUF_FACTORS and v == 1)}
    if "factor" not in found and keys.get("rope.scale_linear"):
        found["factor"] = keys["rope.scale_linear"]
    if found.get("factor") and "type" not in found:
        found["type"] = "linear"  # as llama.cpp
    return found


def _frozen(kind: str, name: str, value: Any, span: Span) -> Any:
    """A number or a tuple of numbers."""
    items = value if isinstance(value, (list, tuple)) else [value]
    if not items or not all(isinstance(item, (int, float)) for item in items):
        raise HfcError(f"{name} of {kind} RoPE must be a number or a list of numbers, found {value!r}", span)
    return tuple(items) if isinstance(value, (list, tuple)) else value

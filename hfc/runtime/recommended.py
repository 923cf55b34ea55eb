"""How a checkpoint asks to be sampled: generation_config.json or a GGUF's general.sampling.* -> values of Sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.runtime.sampler import Sampling
from hfc.runtime.tokenizer_json import json_beside

# generation_config.json -> Sampling, with what transformers takes where the file names others and leaves it out
_NAMES = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "repetition_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}  # fmt: skip
_TRANSFORMERS = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0}
# llama.cpp's converter writes what generation_config.json says under these
_GGUF_NAMES = {
    "temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "repeat_window",
}  # fmt: skip


def sampling_of_folder(folder: Path) -> dict[str, float]:
    """{} where generation_config.json says nothing of sampling; temperature 0 where it says not to sample."""
    return sampling_of_config(json_beside(folder / "generation_config.json"))


def sampling_of_config(config: Mapping[str, Any]) -> dict[str, float]:
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    found = {ours: config[theirs] for theirs, ours in _NAMES.items() if _is_number(config.get(theirs))}
    return _valid({**_TRANSFORMERS, **found}) if found else {}


def sampling_of_gguf(metadata: Mapping[str, Any]) -> dict[str, float]:
    keys = {ours: metadata.get(f"general.sampling.{theirs}") for theirs, ours in _GGUF_NAMES.items()}
    return _valid({name: value for name, value in keys.items() if _is_number(value)})


def _valid(values: dict[str, Any]) -> dict[str, float]:
    """Whole numbers where those are meant; a value that cannot be is left out, since nobody here wrote it."""
    whole = {n: int(v) if n in ("top_k", "repeat_window") else float(v) for n, v in values.items()}
    return {name: value for name, value in whole.items() if _is_valid(name, value)}


def _is_valid(name: str, value: float) -> bool:
    try:
        replace(Sampling(), **{name: value})
    except HfcError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

"""A Hugging Face folder (tokenizer.json and the small files beside it) to a Tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint.mapped import read_json
from hfc.runtime.tokenizer import Tokenizer, stop_ids_of
from hfc.runtime.tokenizer_library import HuggingFaceCore


def tokenizer_from_folder(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder. Stop ids come from generation_config.json and config.json too."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise HfcError(
            f"{folder} has no tokenizer.json",
            hint="save one with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    library = _library(path)
    decoder = str(library.decoder)  # the library shows it as "ByteLevel(...)" or "Sequence(decoders=[...])"
    names = json_beside(folder / "tokenizer_config.json")
    special = {i: t.content for i, t in library.get_added_tokens_decoder().items() if t.special}
    first, last = _framing(library)
    bos, eos = (_named_id(library, names, key) for key in ("bos_token", "eos_token"))
    bos, eos = (first if bos is None else bos), (last if eos is None else eos)
    return Tokenizer(
        core=HuggingFaceCore(library, byte_level="ByteLevel(" in decoder),
        vocab=library.get_vocab_size(with_added_tokens=True),
        special=special,
        bos=bos,
        eos=eos,
        add_bos=_flag(names, "add_bos_token", first is not None),
        add_eos=_flag(names, "add_eos_token", last is not None),
        stop_ids=stop_ids_of(special, eos, *_config_stop_ids(folder)),
        strip_space=any(name in decoder for name in ("Metaspace(", "Strip(")),
    )


def json_beside(path: Path) -> dict[str, Any]:
    """The JSON object of a file that a checkpoint may lack; {} without it."""
    return read_json(path) if path.is_file() else {}


def token_name(value: Any) -> str | None:
    """tokenizer_config.json names a token as a string or as {"content": string}."""
    return value.get("content") if isinstance(value, dict) else value


def _library(path: Path) -> tokenizers.Tokenizer:
    try:
        library = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises nothing narrower
        raise HfcError(
            f"{path} is not a tokenizer that can be read: {error}", hint="fetch the checkpoint again"
        ) from error
    if not isinstance(library.model, (models.BPE, models.Unigram)):
        raise HfcError(f"{path} holds a {type(library.model).__name__} tokenizer; BPE and Unigram are supported")
    return library


def _framing(library: tokenizers.Tokenizer) -> tuple[int | None, int | None]:
    """The tokens that the file's own template puts before and after a text: seen by encoding a word both ways."""
    plain = library.encode("a", add_special_tokens=False).ids
    framed = library.encode("a", add_special_tokens=True).ids
    extra = len(framed) - len(plain)
    first = framed[0] if extra and framed[: len(plain)] != plain else None
    last = framed[-1] if extra and framed[-len(plain) :] != plain else None
    return first, last


def _named_id(library: tokenizers.Tokenizer, names: Mapping[str, Any], key: str) -> int | None:
    name = token_name(names.get(key))
    return library.token_to_id(name) if isinstance(name, str) else None


def _flag(names: Mapping[str, Any], key: str, default: bool) -> bool:
    return default if names.get(key) is None else bool(names[key])


def _config_stop_ids(folder: Path) -> list[int]:
    """eos_token_id of generation_config.json and config.json (or its text_config): one id or a list."""
    config = json_beside(folder / "config.json")
    places = [json_beside(folder / "generation_config.json"), config, config.get("text_config") or {}]
    ids: list[int] = []
    for place in places:
        value = place.get("eos_token_id")
        ids += value if isinstance(value, list) else [] if value is None else [value]
    return ids

"""A Hugging Face folder (tokenizer.json and the small files beside it) to a Tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tokenizers
from tokenizers import AddedToken, models

from hfc.base.diagnostics import HfcError
from hfc.base.typed import token_id, typed
from hfc.formats.checkpoint.mapped import read_json
from hfc.runtime.tokenizer import END_OF_TURN, Tokenizer, stop_ids_of
from hfc.runtime.tokenizer_library import HuggingFaceCore, native_calls


def tokenizer_from_folder(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder. Stop ids come from generation_config.json and config.json too."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise HfcError(
            f"{folder} has no tokenizer.json",
            hint="save one with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...); "
            "without one, token ids: hfc run MODEL --tokens 13,59,42",
        )
    library = _library(path)
    decoder = str(library.decoder)  # the library shows it as "ByteLevel(...)" or "Sequence(decoders=[...])"
    names = json_beside(folder / "tokenizer_config.json")
    for key in ("bos_token", "eos_token"):
        typed(names.get(key), str | _NamedPart | bool | None, f"{folder / 'tokenizer_config.json'}: {key}")
    special = {i: t.content for i, t in library.get_added_tokens_decoder().items() if t.special}
    named = _template_names(folder, names)
    first, last = _framing(library)
    bos, eos = (_named_id(library, names, key) for key in ("bos_token", "eos_token"))
    bos, eos = (first if bos is None else bos), (last if eos is None else eos)
    return Tokenizer(
        core=HuggingFaceCore(library, byte_level="ByteLevel(" in decoder),
        vocab=library.get_vocab_size(with_added_tokens=True),
        special=special,
        bos=bos,
        eos=eos,
        # The file's own template decides: transformers too drops add_bos_token and add_eos_token beside a tokenizer.json.
        add_bos=first is not None,
        add_eos=last is not None,
        stop_ids=stop_ids_of(special, eos, *_config_stop_ids(folder)),
        strip_space=any(name in decoder for name in ("Metaspace(", "Strip(")),
        named=named,
    )


class _NamedPart(msgspec.Struct):
    """A token of tokenizer_config.json that is written with its properties."""

    content: str


def json_beside(path: Path) -> dict[str, Any]:
    """The JSON object of a file that a checkpoint may lack; {} without it."""
    return read_json(path) if path.is_file() else {}


def token_name(value: Any) -> str | None:
    """tokenizer_config.json names a token as a string or as {"content": string}."""
    return value.get("content") if isinstance(value, dict) else value


def _library(path: Path) -> tokenizers.Tokenizer:
    with native_calls(f"{path} is not a tokenizer that can be read"):
        library = tokenizers.Tokenizer.from_file(str(path))
    if not isinstance(library.model, (models.BPE, models.Unigram)):
        raise HfcError(f"{path} holds a {type(library.model).__name__} tokenizer; BPE and Unigram are supported")
    # What somebody trained or calibrated with is no property of the vocabulary: prompts are never cut or padded.
    library.no_truncation()
    library.no_padding()
    ends = [t for t in library.get_added_tokens_decoder().values() if t.content in END_OF_TURN and not t.special]
    library.add_special_tokens([AddedToken(t.content, normalized=False, special=True) for t in ends])
    return library


def _framing(library: tokenizers.Tokenizer) -> tuple[int | None, int | None]:
    """The tokens that the file's own template puts before and after a text: seen by encoding a word both ways."""
    with native_calls("the tokenizer cannot encode a text"):
        plain = library.encode("a", add_special_tokens=False).ids
        framed = library.encode("a", add_special_tokens=True).ids
    extra = len(framed) - len(plain)
    first = framed[0] if extra and framed[: len(plain)] != plain else None
    last = framed[-1] if extra and framed[-len(plain) :] != plain else None
    return first, last


def _named_id(library: tokenizers.Tokenizer, names: Mapping[str, Any], key: str) -> int | None:
    name = token_name(names.get(key))
    return library.token_to_id(name) if isinstance(name, str) else None


def _template_names(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Every token that a template may print by name: "pad_token", "image_token" and what else the files call *_token."""
    extra = config.get("extra_special_tokens")
    places = [json_beside(folder / "special_tokens_map.json"), config, extra if isinstance(extra, dict) else {}]
    named = {key: token_name(value) for place in places for key, value in place.items() if key.endswith("_token")}
    return {key: text for key, text in named.items() if isinstance(text, str)}


def _config_stop_ids(folder: Path) -> list[int]:
    """eos_token_id of generation_config.json and config.json (or its text_config): one id or a list."""
    config = json_beside(folder / "config.json")
    inner = typed(config.get("text_config"), dict[str, Any] | None, f"{folder / 'config.json'}: text_config")
    generation = json_beside(folder / "generation_config.json")
    ids: list[int] = []
    for name, place in (("generation_config.json", generation), ("config.json", config), ("config.json", inner or {})):
        where = f"{folder / name}: eos_token_id"
        found = typed(place.get("eos_token_id"), int | list[int] | None, where)
        values = found if isinstance(found, list) else [] if found is None else [found]
        ids += [token_id(value, where) for value in values]
    return ids

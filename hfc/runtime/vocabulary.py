"""The text side of a checkpoint: its tokenizer and its chat template, from a .gguf file or a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.formats.checkpoint import Checkpoint, open_checkpoint
from hfc.runtime.chat import template_of_folder, template_of_gguf
from hfc.runtime.recommended import sampling_of_folder, sampling_of_gguf
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.tokenizer_brief import brief_tokenizer
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf
from hfc.runtime.tokenizer_json import json_beside, tokenizer_from_folder


@dataclass(frozen=True)
class Vocabulary:
    """template: the chat template's text, None when the checkpoint has none.  pooling: how the checkpoint wants its hidden
    states as one vector ("last", "mean"; "cls" and others that no causal model can give), None if it does not say.
    sampling: what it recommends, by the names of Sampling."""

    tokenizer: Tokenizer
    template: str | None
    pooling: str | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)


def load_vocabulary(source: str | Path, is_brief: bool = False) -> Vocabulary:
    """Read the tokenizer and template of a checkpoint; weights are not touched, and a folder or a config.json needs none beside it.

    is_brief: for a few short texts; a large vocabulary is not built whole for them."""
    folder = Path(source).parent if str(source).endswith("config.json") else Path(source)
    if (folder / "tokenizer.json").is_file() and not any(
        any(folder.glob(kind)) for kind in ("*.safetensors", "*.gguf")
    ):
        return _from_folder(folder)
    with open_checkpoint(source) as checkpoint:
        if checkpoint.kind == "gguf":
            config = checkpoint.config
            tokenizer = (brief_tokenizer(config) if is_brief else None) or tokenizer_from_gguf(config)
            return Vocabulary(tokenizer, template_of_gguf(config), pooling_of_gguf(config), sampling_of_gguf(config))
        if checkpoint.texts:
            with TemporaryDirectory() as folder:
                return _from_folder(_laid_out(checkpoint, Path(folder)))
        return _from_folder(checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent)


def _from_folder(folder: Path) -> Vocabulary:
    return Vocabulary(
        tokenizer_from_folder(folder), template_of_folder(folder), pooling_of_folder(folder), sampling_of_folder(folder)
    )


def _laid_out(checkpoint: Checkpoint, folder: Path) -> Path:
    """The folder, with what a single file holds beside its weights as the files that it was made of."""
    for name, text in {**checkpoint.texts, "config.json": json.dumps(dict(checkpoint.config))}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def pooling_of_gguf(metadata: Mapping[str, Any]) -> str | None:
    """llama.cpp's enum llama_pooling_type."""
    number = metadata.get(f"{metadata.get('general.architecture')}.pooling_type")
    return {1: "mean", 2: "cls", 3: "last", 4: "rank"}.get(number)


def pooling_of_folder(folder: Path) -> str | None:
    """sentence-transformers' flags: "pooling_mode_mean_tokens": true."""
    flags = json_beside(folder / "1_Pooling" / "config.json")
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last", "pooling_mode_cls_token": "cls"}
    return next((name for flag, name in names.items() if flags.get(flag)), None)

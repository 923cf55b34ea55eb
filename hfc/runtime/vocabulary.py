"""The text side of a checkpoint: its tokenizer and its chat template, from a .gguf file or a Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hfc.formats.checkpoint import open_checkpoint
from hfc.runtime.chat import template_of_folder, template_of_gguf
from hfc.runtime.tokenizer import Tokenizer
from hfc.runtime.tokenizer_gguf import tokenizer_from_gguf
from hfc.runtime.tokenizer_json import tokenizer_from_folder


@dataclass(frozen=True)
class Vocabulary:
    """template: the chat template's text, None when the checkpoint has none."""

    tokenizer: Tokenizer
    template: str | None


def load_vocabulary(source: str | Path) -> Vocabulary:
    """Read the tokenizer and template of a checkpoint; weights are not touched."""
    with open_checkpoint(source) as checkpoint:
        if checkpoint.kind == "gguf":
            return Vocabulary(tokenizer_from_gguf(checkpoint.config), template_of_gguf(checkpoint.config))
        folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
        return Vocabulary(tokenizer_from_folder(folder), template_of_folder(folder))

"""Model files: loading one, and finding the one for a config's model_type or a GGUF architecture."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hfc
from hfc.base.diagnostics import HfcError, unknown
from hfc.frontend import syntax
from hfc.frontend.config import settings_of, text_config
from hfc.frontend.parse import parse
from hfc.frontend.recipes import Inventory


@dataclass(frozen=True)
class Model:
    """A parsed model file."""

    syntax: syntax.ModelSyntax
    path: Path

    @property
    def name(self) -> str:
        return self.syntax.name

    @property
    def model_types(self) -> tuple[str, ...]:
        """HF model types that it describes; the model's own name where its config block names none."""
        blocks = [block for block in self.syntax.configs if block.source == "hf"]
        return tuple(name for block in blocks for name in block.names or (self.name,))

    @property
    def gguf_architectures(self) -> tuple[str, ...]:
        return tuple(name for block in self.syntax.configs if block.source == "gguf" for name in block.names)

    def settings(self, config: Mapping[str, Any], source: str, checkpoint: Inventory | None = None) -> dict[str, Any]:
        """The model's names -> values for this config, and the token ids that it declares."""
        return settings_of(self.syntax, config, source, checkpoint)


def load_model(path: str | Path) -> Model:
    """Parse a model file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HfcError(f"cannot read the model file {path}: {error}") from None
    return Model(parse(text, _shown(path)), path)


def find_model(model_type: str, folders: Sequence[str | Path] = ()) -> Model:
    """The model that describes this HF model_type or GGUF architecture; `folders` come before hfc's own models."""
    known: dict[str, Path] = {}
    for folder in (*map(Path, folders), builtin_folder()):
        for path in sorted(folder.glob("*.hfm")):
            model = _cached(path, path.stat().st_mtime_ns)
            for name in (model.name, *model.model_types, *model.gguf_architectures):
                known.setdefault(name, path)
    if model_type not in known:
        raise unknown("model type", model_type, known)
    path = known[model_type]
    return _cached(path, path.stat().st_mtime_ns)


def model_type_of(config: Mapping[str, Any], source: str) -> str:
    """What to look for in `find_model`: the text model's model_type, or general.architecture."""
    key = "model_type" if source == "hf" else "general.architecture"
    found = (text_config(config) if source == "hf" else config).get(key)
    if not isinstance(found, str):
        raise HfcError(f"the config has no {key}, so that its model is unknown")
    return found


def builtin_folder() -> Path:
    """models/ of an installed hfc lies in the package, that of a checkout beside it."""
    package = Path(hfc.__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def _shown(path: Path) -> str:
    """The shorter of the path as given and the path from here."""
    absolute = path.resolve()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


@functools.lru_cache(maxsize=64)
def _cached(path: Path, _modified_ns: int) -> Model:
    return load_model(path)

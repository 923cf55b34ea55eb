"""What a user means by MODEL: a bundle, a checkpoint on disk, or a registry name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hfc.base.diagnostics import HfcError, unknown
from hfc.runtime.registry import REGISTRY, find_local, pull


@dataclass(frozen=True)
class Source:
    """kind: "bundle" (.hfp) | "checkpoint" (.gguf, .safetensors or a folder) | "description" (.hfm, or a config.json).

    path: absolute.
    """

    kind: str
    path: Path


_KINDS = {
    ".hfp": "bundle",
    ".gguf": "checkpoint",
    ".safetensors": "checkpoint",
    ".hfq": "checkpoint",
    ".mq3": "checkpoint",
    ".mq4": "checkpoint",
    ".mq6": "checkpoint",
    ".hfm": "description",
    ".json": "description",
}


def find_source(model: str, report: Callable[[str], None] = lambda line: None) -> Source:
    """Resolve MODEL; a registry name that is not on this machine is fetched. A path wins over a name."""
    path = Path(model).expanduser()
    if path.is_dir():
        return Source("checkpoint", path.absolute())
    if path.is_file():
        return Source(_kind_of_file(path), path.absolute())
    if model in REGISTRY:
        entry = REGISTRY[model]
        return Source("checkpoint", (find_local(entry) or pull(entry, report=report)).absolute())
    if os.sep in model or path.suffix in _KINDS:
        raise HfcError(f"{model}: no such file or folder", hint=f"known models: {', '.join(REGISTRY)}")
    raise unknown("model", model, REGISTRY)


def _kind_of_file(path: Path) -> str:
    if path.suffix in _KINDS:
        return _KINDS[path.suffix]
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in (b"GGUF", b"HFQM"):
        return "checkpoint"
    raise HfcError(
        f"{path}: not a model file that hfc knows (it starts with {magic!r})",
        hint=f"known: {', '.join(_KINDS)}, or a folder with config.json and safetensors",
    )

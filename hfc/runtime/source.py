"""What a user means by MODEL: a bundle, a checkpoint on disk, a registry name, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, one_of, suggestions
from hfc.base.file_start import refuse_foreign_file
from hfc.base.path_text import has_separator, typed_path
from hfc.runtime.library import FetchedModel, find_record, records
from hfc.runtime.reference import Reference, parse_reference
from hfc.runtime.registry import REGISTRY, RegistryEntry, find_local


@dataclass(frozen=True)
class Source:
    """kind: "bundle" (.hfp) | "checkpoint" (.gguf, .safetensors or a folder) | "description" (.hfm, or a config.json).

    path: absolute.
    """

    kind: str
    path: Path


class NotHere(HfcError):
    """A model that must be fetched, or quantized after fetching, before it can be opened."""

    def __init__(self, model: str, entry: RegistryEntry | None, reference: Reference | None):
        super().__init__(f"{model} is not on this machine", hint=f"hfc pull {model}")
        self.entry, self.reference = entry, reference


HOW = "MODEL is a path, a name of `hfc list --remote`, or a repository of the hub like hf.co/ORG/REPO:Q4_K_M"
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


def is_path(model: str) -> bool:
    """A path wins over a name."""
    return typed_path(model).exists()


def find_source(model: str) -> Source:
    """Resolve MODEL on this machine; NotHere for what the registry or the hub has. A path wins over a name."""
    path = typed_path(model)
    if not model.strip():
        raise HfcError("MODEL is empty", hint=HOW)
    if path.is_symlink() and not path.exists():
        raise HfcError(
            f"{model}: a link to {os.readlink(path)}, which is not there", hint="fetch or move the file itself"
        )
    if path.is_dir():
        return Source("checkpoint", path.absolute())
    if path.is_file() and path.name.endswith(".safetensors.index.json"):
        return Source("checkpoint", path.parent.absolute())
    if path.is_file():
        return Source(_kind_of_file(path), path.absolute())
    entry = REGISTRY.get(model)
    if entry is not None and entry.reference is None:
        local = find_local(entry)
        if local is None:
            raise NotHere(model, entry, None)
        return Source("checkpoint", local.absolute())
    reference = entry.reference if entry else _reference(model, path)
    if reference is None:
        raise unknown_model(model, path)
    record = find_record(reference)
    if record is None or not is_ready(record):
        raise NotHere(model, entry, reference)
    return source_of(record)


def source_of(record: FetchedModel) -> Source:
    """A fetched model, what was quantized from it where it was to be."""
    return Source("checkpoint", record.quantized or Path(record.path))


def is_ready(record: FetchedModel) -> bool:
    return record.quantized is None or (record.quantized / "model.safetensors").is_file()


def unknown_model(model: str, path: Path) -> HfcError:
    """The nearest three of what there is, and how a path or a repository is written."""
    known = [*REGISTRY, *(record.name for record in records())]
    near = suggestions(model, known, likeness=0.5)
    hint = f"did you mean {one_of(near)}? {HOW}" if near else HOW
    if has_separator(model) or path.suffix in _KINDS:
        return HfcError(f"{model}: no such file or folder", hint=hint)
    return HfcError(f"unknown model {model!r}", hint=hint)


def _reference(model: str, path: Path) -> Reference | None:
    """A plain ORG/REPO whose ORG is a folder here is a path that was mistyped."""
    is_path = model.startswith((".", "~", "/", "\\")) or (len(path.parts) == 2 and Path(path.parts[0]).is_dir())
    return None if is_path else parse_reference(model)


def name_of(model: str) -> str:
    """ "models/Qwen3.5-9B-Q4_K_M.gguf" -> "Qwen3.5-9B-Q4_K_M"; a registry name stays as it is."""
    path = Path(model)
    if not path.exists():
        return model
    return (
        path.absolute().name if path.is_dir() else re.sub(r"\.(hfp|gguf|safetensors|json|hfm|hfq|mq\d)$", "", path.name)
    )


def _kind_of_file(path: Path) -> str:
    if path.suffix in _KINDS:
        return _KINDS[path.suffix]
    with path.open("rb") as file:
        start = file.read(64)
    magic = start[:4]
    if magic in (b"GGUF", b"HFQM"):
        return "checkpoint"
    refuse_foreign_file(path, start)
    raise HfcError(
        f"{path}: not a model file that hfc knows (it starts with {magic!r})",
        hint=f"known: {', '.join(_KINDS)}, or a folder with config.json and safetensors",
    )

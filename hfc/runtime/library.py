"""Models that were fetched: one small record each, so that what is here can be found, listed and removed without a network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from hfc.base.cache import cache_folder
from hfc.base.dataclass import dataclass
from hfc.base.whole_file import write_whole
from hfc.runtime.reference import Reference

UNUSED_S = 30 * 24 * 3600  # compiled files that nothing asked for since


@dataclass(frozen=True)
class FetchedModel:
    """name: as it was asked for.  path: what to open, in the hub's cache.  files: [path, bytes, mtime_ns, hash] of each."""

    name: str
    repository: str
    revision: str
    kind: str
    path: str
    files: tuple[tuple[str, int, int, str], ...]
    format: str | None = None
    fetched_s: float = 0.0

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size, _, _ in self.files)

    @property
    def quantized(self) -> Path | None:
        """Where the model lies after quantizing; None for one that runs as it is."""
        if self.format is None:
            return None
        return models_folder() / f"{_slug(self.repository)}-{self.revision[:12]}-{self.format}"

    def is_whole(self) -> bool:
        """Are all files there, as they were checked?"""
        try:
            return all((s := os.stat(p)).st_size == size and s.st_mtime_ns == at for p, size, at, _ in self.files)
        except OSError:
            return False


def models_folder() -> Path:
    return cache_folder() / "models"


def records() -> list[FetchedModel]:
    """By name."""
    found = []
    for path in sorted((models_folder() / "hub").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # of another version, or half gone
            data = json.loads(path.read_text(encoding="utf-8"))
            found.append(FetchedModel(**{**data, "files": tuple(map(tuple, data["files"]))}))
    return sorted(found, key=lambda record: record.name)


def find_record(reference: Reference) -> FetchedModel | None:
    """The record of this very reference, if its files are whole."""
    return next((r for r in records() if r.name == str(reference) and r.is_whole()), None)


def save(record: FetchedModel) -> None:
    folder = models_folder() / "hub"
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps({**asdict(record), "fetched_s": time.time()}).encode()
    write_whole(folder / f"{_slug(record.name)}.json", data, "what was fetched")


def remove(record: FetchedModel) -> int:
    """Delete a model: its files unless another record names them too, what was made of it, and the record. Bytes freed."""
    others = {path for other in records() if other.name != record.name for path, *_ in other.files}
    freed = 0
    for path, *_ in record.files:
        if path not in others:
            freed += _unlink_with_blob(Path(path))
    if record.quantized and not any(
        other.quantized == record.quantized for other in records() if other.name != record.name
    ):
        freed += _size(record.quantized)
        shutil.rmtree(record.quantized, ignore_errors=True)
    (models_folder() / "hub" / f"{_slug(record.name)}.json").unlink(missing_ok=True)
    return freed


def unused() -> Iterator[Path]:
    """Files that nothing needs: blobs and unfinished downloads of repositories that hfc fetched from, and what was compiled and not
    used for a month."""
    repositories = {Path(path).parents[2] for r in records() for path, *_ in r.files if "snapshots" in Path(path).parts}
    for repository in (r for r in repositories if (r / "blobs").is_dir()):
        linked = {link.resolve() for link in (repository / "snapshots").rglob("*") if link.is_symlink()}
        yield from (blob for blob in (repository / "blobs").iterdir() if blob.resolve() not in linked)
    before = time.time() - UNUSED_S
    places = ("", "content/", "compiled/")
    for folder in (found for place in places for found in cache_folder().glob(f"{place}[0-9a-f][0-9a-f]")):
        for path in folder.iterdir():
            stat = path.stat()
            if path.suffix != ".sha256" and max(stat.st_atime, stat.st_mtime) < before:
                yield path
                yield from (p for p in [path.with_name(path.name + ".sha256")] if p.is_file())


def _unlink_with_blob(path: Path) -> int:
    """Remove a name of the hub's cache, and the blob behind it if no other name of the repository leads there."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob == path or not blob.is_file():
        return 0
    snapshots = next((p for p in path.parents if p.name == "snapshots"), None)
    if snapshots and any(link.resolve() == blob for link in snapshots.rglob("*") if link.is_symlink()):
        return 0
    size = blob.stat().st_size
    blob.unlink()
    return size


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0


def _slug(name: str) -> str:
    return name.replace("/", "--").replace(":", "-")

"""A content-addressed cache of built files: key -> path; entries appear whole or not at all, and damaged ones are rebuilt."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob


def cache_folder() -> Path:
    """The knob HFC_CACHE, else $XDG_CACHE_HOME/hfc, else ~/.cache/hfc. Not created here."""
    chosen = knob("HFC_CACHE")
    if chosen:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hfc"


def key_of(*parts: str | bytes) -> str:
    """A hex key of 32 digits over all parts; their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def cached(key: str, suffix: str, make: Callable[[], bytes]) -> Path:
    """The path of entry `key` + `suffix` (".so", ".hsaco"); `make()` returns its bytes when there is none.

    A sidecar keeps the sha256 of the content. An entry that does not match it is rebuilt, with one line on stderr.
    """
    folder = cache_folder() / key[:2]
    path = folder / (key + suffix)
    if _is_whole(path):
        return path
    if path.exists():
        print(f"hfc: cache entry {path} is damaged; building it again", file=sys.stderr)
    data = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The sidecar first: another process that looks between the two finds no entry rather than a damaged one.
        _write_whole(_sidecar(path), hashlib.sha256(data).hexdigest().encode())
        _write_whole(path, data)
    except OSError as error:
        raise HfcError(
            f"cannot write the cache entry {path}: {error.strerror or error}",
            hint="free some space, or point HFC_CACHE at a folder that can be written",
        ) from error
    return path


def find_cached(key: str, suffix: str) -> Path | None:
    """The path of an entry that is there and whole."""
    path = cache_folder() / key[:2] / (key + suffix)
    return path if _is_whole(path) else None


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest().encode() == _sidecar(path).read_bytes()
    except OSError:
        return False


def _write_whole(path: Path, data: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, and a full disk leaves the old one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o755)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise

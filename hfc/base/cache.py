"""A content-addressed cache of built files: key -> path; entries appear whole or not at all, and damaged ones are rebuilt."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.base.path_text import home_folder
from hfc.base.whole_file import write_whole

LONGEST_LABEL = 120  # of a file name of at most 255 bytes, with a hash, a suffix and those of its sidecar
HASH_DIGITS = 16  # beside a label: 64 bits, one collision in 2^32 entries of that label


def cache_folder() -> Path:
    """The knob HFC_CACHE, else $XDG_CACHE_HOME/hfc, else ~/.cache/hfc. Not created here."""
    chosen = knob("HFC_CACHE")
    if chosen:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache"
    return Path(base) / "hfc"


def key_of(*parts: str | bytes) -> str:
    """A hex key of 32 digits over all parts; their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def cached(key: str, suffix: str, make: Callable[[], bytes], label: str = "") -> Path:
    """The path of entry `key` + `suffix` (".so", ".hsaco"); `make()` returns its bytes when there is none.

    label: what it is, for who looks into the folder: the name begins with it, and a shorter hash follows.
    A sidecar keeps the sha256 of the content. An entry that does not match it is rebuilt, with one line on stderr.
    """
    path = _entry(key, suffix, label)
    if _is_whole(path):
        return path
    if path.exists():
        if _is_whole(path):  # another process finished it meanwhile
            return path
        print(f"hfc: cache entry {path} is damaged; building it again", file=sys.stderr)
    data = make()
    # The sidecar first: another process that looks between the two finds no entry rather than a damaged one.
    _write(_sidecar(path), hashlib.sha256(data).hexdigest().encode())
    _write(path, data)
    return path


def find_cached(key: str, suffix: str, label: str = "") -> Path | None:
    """The path of an entry that is there and whole."""
    path = _entry(key, suffix, label)
    return path if _is_whole(path) else None


def _entry(key: str, suffix: str, label: str) -> Path:
    if not label:
        return cache_folder() / key[:2] / (key + suffix)
    readable = re.sub(r"[^A-Za-z0-9_.+-]", "_", label)[:LONGEST_LABEL]
    return cache_folder() / key[:2] / f"{readable}-{key[:HASH_DIGITS]}{suffix}"


def kept(data: bytes, suffix: str) -> Path:
    """The path of an entry with this content, for what must be a file. It is found by the hash of all its bytes: no other
    content can take its place, whatever a file of someone else says about itself."""
    digest = hashlib.sha256(data).hexdigest()
    path = _content(digest, suffix)
    if not path.is_file() or path.read_bytes() != data:
        _write(path, data)
    return path


def find_kept(digest: str, suffix: str) -> bytes | None:
    """The content of this hash that `kept` keeps, if it is there and whole."""
    try:
        data = _content(digest, suffix).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def record_made(data: bytes) -> None:
    """Take down that this machine made this code itself: `made_here` finds it by its content."""
    path = _record(data)
    if not path.exists():
        _write(path, b"")


def made_here(data: bytes) -> bool:
    """Whether these bytes are code that this cache's own compiler wrote."""
    return _record(data).exists()


def compiler_environment() -> dict[str, str]:
    """The environment of a child that runs zig: what it keeps lies in our cache, so that a home which cannot be written does
    no harm. A choice of the user's own stays."""
    folder = str(cache_folder() / "zig")
    return {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder, **os.environ}


def _content(digest: str, suffix: str) -> Path:
    return cache_folder() / "content" / digest[:2] / (digest + suffix)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest().encode() == _sidecar(path).read_bytes()
    except OSError:
        return False


def _record(data: bytes) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    return cache_folder() / "made" / digest[:2] / digest


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, "the cache entry", executable=True)
    except (HfcError, OSError) as error:
        cause = error.__cause__ if isinstance(error, HfcError) else error
        raise HfcError(
            f"cannot write the cache entry {path}: {getattr(cause, 'strerror', None) or cause}",
            hint="free some space, or point HFC_CACHE at a folder that can be written",
        ) from error

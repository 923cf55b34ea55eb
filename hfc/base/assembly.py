"""The assembly text of code objects that were made on this machine, kept in the cache by their content."""

from __future__ import annotations

import zlib
from pathlib import Path

from hfc.base.cache import cached, find_cached, key_of


def keep_assembly(data: bytes, assembly: bytes) -> Path:
    """Remember that the code object `data` was assembled from `assembly`."""
    return cached(_key(data), ".s.z", lambda: zlib.compress(assembly))


def kept_assembly(data: bytes) -> bytes | None:
    """The text that a code object was made from, if it was made here."""
    path = find_cached(_key(data), ".s.z")
    return path and zlib.decompress(path.read_bytes())


def _key(data: bytes) -> str:
    return key_of("assembly of", data)

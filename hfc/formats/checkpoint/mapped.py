"""A file mapped into memory, read-only: tensors are views of it and cost nothing until they are touched."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.base.file_start import refuse_foreign_file

JSON_LIMIT = 100_000_000  # bytes; the safetensors format's own limit for its header
NOT_FINITE = (
    "Infinity",
    "-Infinity",
    "NaN",
)  # transformers 5 writes {"__float__": "Infinity"} for what JSON cannot say


class MappedFile:
    """`map`: the mmap, for slices of bytes.  `data`: the same as uint8 [size].  Views outlive close()."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise HfcError(f"{path}: the file is empty", hint="download it again") from None
        except OSError as error:
            raise HfcError(f"{path}: cannot read the file: {error.strerror}") from None
        refuse_foreign_file(path, self.map[:64])
        self.size = len(self.map)
        self.data = np.frombuffer(self.map, np.uint8)

    def release(self) -> None:
        """Give the pages that were read back to the system; they are read again when they are touched again."""
        if hasattr(mmap, "MADV_DONTNEED") and not self.map.closed:
            self.map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap the file; where arrays still look into it, that happens when the last of them dies."""
        self.data = np.empty(0, np.uint8)
        try:
            self.map.close()
        except BufferError:
            pass


def require_parts(whole: Path, parts: Sequence[Path]) -> None:
    """All files of a checkpoint that `whole` belongs to must be there: one message for those that are not."""
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        names = missing[0] + f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise HfcError(
            f"{whole}: {len(missing)} of the {len(parts)} files of this checkpoint {'are' if len(missing) > 1 else 'is'} missing: {names}",
            hint="the download is incomplete: fetch what is missing into the same folder",
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file whose top is an object."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise HfcError(f"{path}: {path.stat().st_size} bytes are too many for a JSON file (limit {JSON_LIMIT})")
        text = path.read_bytes()
    except OSError as error:
        raise HfcError(f"{path}: cannot read the file: {error.strerror}") from None
    return parse_json(text, str(path))


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """Bytes of a JSON object; a key given twice, bad text or deep nesting is an error at `where`."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in found if names.count(name) > 1)
            raise HfcError(f"{where}: key {twice!r} is given twice")
        return (
            float(found["__float__"]) if found.keys() == {"__float__"} and found["__float__"] in NOT_FINITE else found
        )

    try:
        value = json.loads(text, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as error:
        raise HfcError(f"{where}: not valid JSON: {error}", hint="the file is damaged; download it again") from None
    if not isinstance(value, dict):
        raise HfcError(f"{where}: a JSON object is expected, found a {type(value).__name__}")
    return value

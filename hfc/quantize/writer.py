"""Writes a container: the header first, then tensors in any order, and the file takes its name when it is whole.

Beside the unfinished file lies a journal of the pieces that are on the disk; a later run with the same plan goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint.container import ALIGNMENT, PADDING, REPORT, TENSORS
from hfc.formats.checkpoint.stored import SAFETENSORS_TYPES

REPORT_ROOM = 4096  # bytes of the header kept free for the report, which is measured on the finished file


@dataclass(frozen=True)
class Planned:
    """A tensor to be written. offset: from the start of the file."""

    name: str
    format: str
    shape: tuple[int, ...]
    nbytes: int
    offset: int = 0


def layout(tensors: Sequence[Planned], metadata: Mapping[str, str]) -> tuple[bytes, list[Planned], int]:
    """Header bytes, tensors with their places, size of the file."""
    dtypes = {stored.format: name for name, stored in SAFETENSORS_TYPES.items()}
    declared = {t.name: {"format": t.format, "shape": list(t.shape)} for t in tensors if t.format not in dtypes}
    header: dict = {"__metadata__": {**metadata, TENSORS: json.dumps(declared)}}
    at, placed = 0, []
    for number, t in enumerate(tensors):
        plain = t.format in dtypes
        shape = (
            list(t.shape) if plain else [*t.shape[:-1], t.nbytes // max(1, int(np.prod(t.shape[:-1], dtype=np.int64)))]
        )
        header[t.name] = {
            "dtype": dtypes[t.format] if plain else "U8",
            "shape": shape,
            "data_offsets": [at, at + t.nbytes],
        }
        placed.append((t, at))
        at += t.nbytes
        rest = -at % ALIGNMENT
        if rest:
            header[f"{PADDING}{number}"] = {"dtype": "U8", "shape": [rest], "data_offsets": [at, at + rest]}
            at += rest
    text = json.dumps(header, separators=(",", ":")).encode()
    length = -(-(8 + len(text) + REPORT_ROOM) // ALIGNMENT) * ALIGNMENT - 8
    start = 8 + length
    found = [Planned(t.name, t.format, t.shape, t.nbytes, start + offset) for t, offset in placed]
    return length.to_bytes(8, "little") + text.ljust(length), found, start + at


NEVER_A_LINK = getattr(
    os, "O_NOFOLLOW", 0
)  # the names are known before: a link that lies there must not be written through


def partial_of(path: Path) -> Path:
    """Where the unfinished file lies."""
    return path.with_name(f".{path.name}.partial")


class Writer:
    """The unfinished file. `key` says what is being made: only an equal one is gone on with."""

    def __init__(self, path: Path, header: bytes, size: int, key: str):
        self.path, self._size = path, size
        self._partial = partial_of(path)
        self._journal_path = path.with_name(f".{path.name}.journal")
        self._key = hashlib.sha256(header + key.encode()).hexdigest()
        self.done = self._finished_pieces()
        self._file = os.open(self._partial, os.O_RDWR | os.O_CREAT | NEVER_A_LINK, 0o666)
        if not self.done:
            os.ftruncate(self._file, 0)
        os.ftruncate(self._file, size)
        os.pwrite(self._file, header, 0)
        flags = os.O_WRONLY | os.O_CREAT | NEVER_A_LINK | (os.O_APPEND if self.done else os.O_TRUNC)
        self._journal = os.fdopen(os.open(self._journal_path, flags, 0o666), "w")
        if not self.done:
            self._journal.write(self._key + "\n")

    def _finished_pieces(self) -> set[str]:
        try:
            key, *pieces = self._journal_path.read_text().split("\n")
            whole = self._partial.stat().st_size == self._size
        except (OSError, UnicodeDecodeError):
            return set()
        return set(pieces[:-1]) if key == self._key and whole else set()  # the last line may be cut off

    def write(self, piece: str, offset: int, data: np.ndarray) -> None:
        """Put bytes in their place; `piece` is then never written again."""
        view = memoryview(np.ascontiguousarray(data)).cast("B")
        while view:
            count = os.pwrite(self._file, view, offset)
            view, offset = view[count:], offset + count
        self._journal.write(piece + "\n")

    def flush(self) -> None:
        """What was written survives a crash from here on: first the data, then the journal that speaks of it."""
        os.fsync(self._file)
        self._journal.flush()

    def finish(self) -> None:
        """The file is whole: it gets its name."""
        os.fsync(self._file)
        self.close()
        os.replace(self._partial, self.path)
        self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the rest to a later run."""
        self._journal.close()
        os.close(self._file)


def add_report(path: Path, report: Mapping) -> None:
    """Put a report into the header of a finished container; its length and the data stay where they are."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"][REPORT] = json.dumps(report)
        text = json.dumps(header, separators=(",", ":")).encode()
        if len(text) > length:
            raise HfcError(f"{path}: the header has no room for a report of {len(text)} bytes")
        file.seek(8)
        file.write(text.ljust(length))

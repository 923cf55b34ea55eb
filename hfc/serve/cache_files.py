"""The prefix cache on disk: one file for each copy of state, written beside the steps, that outlives the server.

A file is a line of JSON (what it is, its size and checksum) and the bytes. They lie in a folder that is named after the model and the
version of hfc that wrote them: state of another model, KV format or version is not even looked at.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.near import Leaving

LOG = logging.getLogger("hfc.serve")
FORMAT = 1
KV, RECURRENT = "kv", "state"  # what a file holds, and how its name ends
HEAD_BYTES = 4096  # at most
PENDING_BYTES = 256 << 20  # that wait to be written; more is not kept


@dataclass(frozen=True)
class Kept:
    """A copy on disk, or still on its way there."""

    path: Path
    nbytes: int
    arrival: Future[None] | None = None

    @property
    def has_failed(self) -> bool:
        return self.arrival is not None and self.arrival.done() and self.arrival.exception() is not None


@dataclass(frozen=True)
class EarlierFile:
    """What the head of a file of an earlier server says."""

    kept: Kept
    key: bytes
    parent: bytes
    tokens: np.ndarray
    kind: str
    used_s: float


class CacheFiles:
    """At most `budget_bytes` in `folder`/`model`; the engine's thread decides what goes. HfcError for a folder that cannot be used.

    bytes: of all files.  is_full: a write has failed: nothing more is written."""

    def __init__(self, folder: Path, model: str, budget_bytes: int):
        self.folder, self.budget_bytes = folder / model, budget_bytes
        self.bytes = self._pending = 0
        self.is_full = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f"probe.{os.getpid()}.part"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise HfcError(
                f"--cache-dir {folder}: {error.strerror}", hint="name a folder that can be written"
            ) from None
        others = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name != model)
        if others:
            LOG.warning("--cache-dir %s: %d folders of other models or versions are left alone", folder, len(others))
        self._writer = ThreadPoolExecutor(1, "hfc-cache-files")

    def found(self) -> Iterator[EarlierFile]:
        """Files of an earlier server; what cannot be read as one is removed."""
        self.bytes = 0
        for path in self.folder.iterdir():
            found = self._head(path) if path.suffix in (f".{KV}", f".{RECURRENT}") else None
            if found is None:
                path.unlink(missing_ok=True)
                continue
            self.bytes += found.kept.nbytes
            yield found

    def write(
        self, key: bytes, parent: bytes, tokens: np.ndarray, kind: str, data: Leaving | np.ndarray
    ) -> Kept | None:
        """Begin to write a copy; None where that is not possible now."""
        if self.is_full or self._pending + data.nbytes > PENDING_BYTES or data.nbytes > self.budget_bytes:
            return None
        self._pending += data.nbytes
        self.bytes += data.nbytes
        path = self.folder / f"{key.hex()}.{kind}"
        head = {"format": FORMAT, "key": key.hex(), "parent": parent.hex(), "tokens": tokens.tolist(), "kind": kind}
        return Kept(path, data.nbytes, self._writer.submit(self._write, path, head, data))

    def read(self, kept: Kept) -> np.ndarray | None:
        """u8 [nbytes]; None for a file that is gone or damaged, which is said."""
        try:
            if kept.arrival is not None:
                kept.arrival.result()
            with kept.path.open("rb") as file:
                head = json.loads(file.readline(HEAD_BYTES))
                data = np.empty(kept.nbytes, np.uint8)
                if file.readinto(data) == kept.nbytes and not file.read(1) and zlib.crc32(data) == head["crc32"]:
                    return data
            cause = "its checksum is wrong"
        except (OSError, ValueError, KeyError, TypeError) as error:
            cause = str(error)
        LOG.warning("%s: the cache entry is dropped: %s", kept.path, cause)
        return None

    def touch(self, kept: Kept) -> None:
        """It was used: the next server shall know."""
        self._writer.submit(_touch, kept.path)

    def remove(self, kept: Kept) -> None:
        self.bytes -= kept.nbytes
        self._writer.submit(kept.path.unlink, missing_ok=True)  # after its own writing

    def flush(self) -> None:
        """Wait for what is being written."""
        self._writer.submit(lambda: None).result()

    def _write(self, path: Path, head: dict, data: Leaving | np.ndarray) -> None:
        part = path.with_suffix(f"{path.suffix}.part")
        try:
            whole = data.data() if isinstance(data, Leaving) else data
            head = {**head, "nbytes": whole.nbytes, "crc32": zlib.crc32(whole)}
            with part.open("wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.write(whole)
            part.replace(path)
        except OSError as error:
            self.bytes -= data.nbytes
            part.unlink(missing_ok=True)
            if not self.is_full:
                self.is_full = True
                what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
                LOG.warning("%s: %s; the prefix cache goes on in memory alone", self.folder, what)
            raise
        finally:
            self._pending -= data.nbytes

    def _head(self, path: Path) -> EarlierFile | None:
        try:
            status = path.stat()
            with path.open("rb") as file:
                line = file.readline(HEAD_BYTES)
            head = json.loads(line)
            key, tokens = bytes.fromhex(head["key"]), np.array(head["tokens"], np.int32)
            is_whole = head["format"] == FORMAT and status.st_size == len(line) + head["nbytes"] and tokens.ndim == 1
            if not is_whole or path.name != f"{head['key']}.{head['kind']}":
                return None
            kept = Kept(path, head["nbytes"])
            return EarlierFile(kept, key, bytes.fromhex(head["parent"]), tokens, head["kind"], status.st_mtime)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None


def _touch(path: Path) -> None:
    if path.exists():
        os.utime(path)


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder lies on, or will."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

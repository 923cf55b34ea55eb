"""Importance matrices: for every linear the mean square of each of its inputs, in llama.cpp's files (.gguf, and .dat of before).

    .gguf   general.type "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; for each weight NAME the tensors
            NAME.in_sum2 [matrices, K], sums of squares, and NAME.counts [matrices, 1], rows that were summed
    .dat    i32 entries; for each i32 length, name, i32 calls, i32 K, f32 [K] mean squares times calls; i32 chunks, i32 length, data set

Names are those of GGUF. Experts have a matrix each. Layout: https://github.com/ggml-org/llama.cpp, tools/imatrix/imatrix.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.typed import typed
from hfc.base.whole_file import whole_file
from hfc.formats.checkpoint import open_checkpoint
from hfc.formats.checkpoint.gguf import MAX_NAME, Reader
from hfc.formats.checkpoint.mapped import MappedFile

SUMS, COUNTS = ".in_sum2", ".counts"
ALIGNMENT = 32
U32, TEXT, ARRAY, F32 = 4, 8, 9, 0  # value types and the tensor type of GGUF


@dataclass(frozen=True)
class ImatrixEntry:
    """sums: of squares, f32 [matrices, K].  counts: rows, f32 [matrices]."""

    sums: np.ndarray
    counts: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean squares, f32 [matrices, K]. A matrix that no row reached (an expert) has ones: nothing is known of it."""
        counts = self.counts[:, None]
        return np.where(counts > 0, self.sums / np.maximum(counts, 1e-30), np.float32(1)).astype(np.float32)


@dataclass(frozen=True)
class Imatrix:
    """entries: by GGUF name of the weight.  chunks of chunk_size tokens, from the texts `datasets`."""

    entries: Mapping[str, ImatrixEntry]
    datasets: tuple[str, ...] = ()
    chunks: int = 0
    chunk_size: int = 0


def read_imatrix(path: Path) -> Imatrix:
    """Either kind of file; HfcError names the file for anything that it cannot be."""
    file = MappedFile(path)
    is_gguf = file.map[:4] == b"GGUF"
    found = _read_gguf(path) if is_gguf else _read_dat(Reader(file))
    file.close()
    for name, entry in found.entries.items():
        if not (
            np.isfinite(entry.sums).all()
            and np.isfinite(entry.counts).all()
            and (entry.sums >= 0).all()
            and (entry.counts >= 0).all()
        ):
            raise HfcError(
                f"{path}: {name} has mean squares that are negative or no numbers", hint="make the imatrix again"
            )
    return found


def _read_gguf(path: Path) -> Imatrix:
    with open_checkpoint(path) as checkpoint:
        if checkpoint.config.get("general.type") != "imatrix":
            raise HfcError(
                f"{path}: a GGUF of type {checkpoint.config.get('general.type')!r}, not an imatrix",
                hint="hfc imatrix makes one",
            )
        entries = {}
        for name in (n.removesuffix(SUMS) for n in checkpoint.names() if n.endswith(SUMS)):
            sums, counts = (np.array(checkpoint.f32(name + part), np.float32) for part in (SUMS, COUNTS))
            if sums.ndim == 0 or sums.size == 0:
                raise HfcError(f"{path}: {name} has no sums", hint="the file is damaged")
            sums = sums.reshape(-1, sums.shape[-1])
            if counts.size != len(sums):
                raise HfcError(
                    f"{path}: {name} has sums of {len(sums)} matrices and counts of {counts.size}",
                    hint="the file is damaged",
                )
            entries[name] = ImatrixEntry(sums, counts.reshape(-1))
        config = checkpoint.config
        kinds = {"datasets": list[str], "chunk_count": int, "chunk_size": int}
        datasets, *counts = (
            typed(config.get(f"imatrix.{key}", kind()), kind, f"{path}: imatrix.{key}") for key, kind in kinds.items()
        )
        return Imatrix(entries, tuple(datasets), *counts)


def _read_dat(reader: Reader) -> Imatrix:
    hint = "not an imatrix file, or damaged"
    entries = {}
    for number in range(reader.count(reader.u32("the count of entries"), 12, "entries")):
        length = reader.u32(f"the length of name {number}")
        if not 0 < length <= MAX_NAME:
            raise reader.error(f"name {number} claims {length} bytes", hint)
        name = reader.take(length, f"name {number}").decode("utf-8", "replace")
        calls, k = reader.u32(f"the calls of {name!r}"), reader.u32(f"the size of {name!r}")
        values = np.frombuffer(
            reader.take(reader.count(k, 4, f"numbers of {name!r}") * 4, f"the numbers of {name!r}"), "<f4"
        )
        entries[name] = ImatrixEntry(values[None].copy(), np.array([max(calls, 1)], np.float32))
    if not entries:
        raise reader.error("no entries", hint)
    if reader.at == reader.file.size:  # the oldest files end here
        return Imatrix(entries)
    chunks = reader.u32("the count of chunks")
    dataset = reader.take(reader.u32("the length of the data set's name"), "the data set's name").decode(
        "utf-8", "replace"
    )
    return Imatrix(entries, (dataset,), chunks)


def write_imatrix(path: Path, imatrix: Imatrix) -> None:
    """A .gguf that llama.cpp reads too."""
    tensors: dict[str, np.ndarray] = {}
    for name, entry in sorted(imatrix.entries.items()):
        tensors[name + SUMS] = entry.sums.astype("<f4")
        tensors[name + COUNTS] = entry.counts.astype("<f4").reshape(-1, 1)
    keys = [
        _text("general.type") + struct.pack("<I", TEXT) + _text("imatrix"),
        _text("imatrix.datasets")
        + struct.pack("<IIQ", ARRAY, TEXT, len(imatrix.datasets))
        + b"".join(map(_text, imatrix.datasets)),
        _text("imatrix.chunk_count") + struct.pack("<II", U32, imatrix.chunks),
        _text("imatrix.chunk_size") + struct.pack("<II", U32, imatrix.chunk_size),
    ]
    rows, at = [], 0
    for name, values in tensors.items():
        rows.append(_text(name) + struct.pack("<IQQIQ", 2, *values.shape[::-1], F32, at))
        at += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(rows), len(keys)) + b"".join(keys) + b"".join(rows)
    with whole_file(path, "the imatrix") as temporary, temporary.open("wb") as file:
        file.write(head.ljust(-(-len(head) // ALIGNMENT) * ALIGNMENT, b"\0"))
        for values in tensors.values():
            file.write(values.tobytes().ljust(-(-values.nbytes // ALIGNMENT) * ALIGNMENT, b"\0"))


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()

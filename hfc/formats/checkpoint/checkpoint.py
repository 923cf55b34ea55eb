"""A file or directory on disk -> named tensors, the model's configuration and its tokenizer files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.formats import READABLE, RowFormat, weight_format
from hfc.formats.checkpoint.container import container_tensors, gguf_config
from hfc.formats.checkpoint.foreign import refuse_adapter
from hfc.formats.checkpoint.gguf import read_gguf
from hfc.formats.checkpoint.hfqm import MAGIC, read_hfqm
from hfc.formats.checkpoint.mapped import MappedFile, read_json, require_parts
from hfc.formats.checkpoint.published import (
    PublishedTensor,
    decoded,
    gguf_tensors,
    published_tensors,
    without_quantization,
)
from hfc.formats.checkpoint.safetensors import open_shards, read_header
from hfc.formats.checkpoint.stored import TensorInfo
from hfc.formats.rotation import rotate_back

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip
HEAD_BYTES, SAMPLES, SAMPLE_BYTES = 1 << 20, 256, 256  # of a file, for its fingerprint
SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
PART_NAME = re.compile(r".*-\d{5}-of-(\d{5})\.safetensors")


@dataclass(eq=False)
class Checkpoint:
    """kind: "hf" | "gguf".  config: config.json ({} without one), or the GGUF's metadata with arrays as lists.

    metadata: what a safetensors header says beside its tensors.  tokenizer_files: those that exist, of an "hf" one.
    texts: such files by name where the checkpoint is a single file that holds them too.  published: tensors that are made of several.
    A context manager; arrays from `raw` stay valid after close(), new ones cannot be had.
    """

    kind: str
    path: Path
    config: Mapping[str, Any]
    files: list[MappedFile]
    tensors: dict[str, TensorInfo]
    tokenizer_files: tuple[Path, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    published: dict[str, PublishedTensor] = field(default_factory=dict)
    # of those, the one decoded last: its rows are often read in pieces
    _last: tuple[str, np.ndarray] | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for file in self.files:
            file.close()
        self.files, self._last = [], None

    def release(self) -> None:
        """Drop what was read from memory; tensors stay valid and are read again when needed."""
        self._last = None
        for file in self.files:
            file.release()

    def fingerprint(self) -> str:
        """A hex key of the files' contents: sizes, times and samples of each, as reading all of 8 GB takes seconds."""
        digest = hashlib.sha256()
        for file in self.files:
            step = max(file.size // SAMPLES, 1)
            digest.update(f"{file.size} {file.path.stat().st_mtime_ns}".encode())
            digest.update(file.map[:HEAD_BYTES])
            for at in range(0, file.size, step):
                digest.update(file.map[at : at + SAMPLE_BYTES])
        return digest.hexdigest()[:32]

    def names(self) -> list[str]:
        return list(self.tensors)

    def info(self, name: str) -> TensorInfo:
        if name not in self.tensors:
            raise unknown(f"tensor in {self.path}:", name, self.tensors)
        return self.tensors[name]

    def stored_format(self, name: str) -> str:
        """What the file calls the tensor's format; of one that is made of several tensors, that of its codes."""
        info = self.info(name)
        return self.published[name].parts["codes"].format if name in self.published else info.format

    def raw(self, name: str) -> np.ndarray:
        """The stored bytes as a read-only view of the file, uint8 [..., row_bytes]; a copy of those that are packed across rows or
        made of several tensors."""
        info = self.info(name)
        if name in self.published:
            return self._decoded(self.published[name])
        flat = self._stored(info)
        if info.packed:
            flat = _across_rows(info.packed, flat)
        return flat.reshape(*info.shape[:-1], info.row_bytes)

    def _stored(self, info: TensorInfo) -> np.ndarray:
        if not self.files:
            raise HfcError(f"{self.path}: the checkpoint is closed")
        return self.files[info.file].data[info.offset : info.offset + info.nbytes]

    def _decoded(self, made: PublishedTensor) -> np.ndarray:
        last = self._last
        if last is None or last[0] != made.info.name:
            try:
                last = (made.info.name, decoded(made, self._stored))
            except HfcError as error:
                raise HfcError(f"{self.path}: {error.message}", hint=error.hint) from error
            self._last = last
        return last[1]

    def f32(self, name: str) -> np.ndarray:
        """The tensor's values, f32 of its shape; a read-only view of the file where it holds f32."""
        format, raw = self.loaded(name)
        return weight_format(format).unpack(raw).reshape(self.info(name).shape)

    def equal(self, first: str, second: str) -> bool:
        """Do two tensors hold the same values?"""
        a, b = self.info(first), self.info(second)
        if a.shape != b.shape:
            return False
        if (a.format, a.packed) == (b.format, b.packed):
            return np.array_equal(self.raw(first), self.raw(second))
        return np.array_equal(self.f32(first), self.f32(second))

    def loaded(self, name: str) -> tuple[str, np.ndarray]:
        """The format that the tensor has in memory, and its bytes in it: those of `raw` but for formats of files only."""
        info = self.info(name)
        if info.format not in READABLE:
            raise HfcError(
                f"{self.path}: tensor {name!r} is stored as {info.format}, which hfc does not compute with",
                hint="known formats: " + ", ".join(READABLE),
            )
        form, raw = weight_format(info.format), self.raw(name)
        if not isinstance(form, RowFormat):
            return info.format, raw
        try:
            return form.blocks.name, form.loaded(raw)
        except HfcError as error:
            raise HfcError(f"{self.path}: tensor {name!r}: {error.message}", hint=error.hint) from error


def _across_rows(format: str, flat: np.ndarray) -> np.ndarray:
    """A tensor that is packed as one row, as the bytes of f32."""
    values = weight_format(format).unpack(flat)
    if weight_format(format).rotated:
        values = rotate_back(values)
    return np.ascontiguousarray(values, np.float32).view(np.uint8)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a .gguf, a .safetensors, an HFQM file, or a directory of a Hugging Face model or of one GGUF (whole or split)."""
    path = Path(path)
    if path.is_dir():
        return _open_directory(path)
    if not path.exists():
        raise HfcError(f"{path}: no such file or directory", hint="give a .gguf, a .safetensors or a model directory")
    if path.name.endswith(".safetensors.index.json"):
        return _open_hf(path.parent, path)
    file = MappedFile(path)
    if file.map[:4] in (b"GGUF", b"FUGG") or path.suffix == ".gguf":
        return _open_gguf(path, file)
    if file.map[:4] == MAGIC:
        return _open_hfqm(path, file)
    file.close()
    return _open_hf(path.parent, path)


def _open_directory(path: Path) -> Checkpoint:
    refuse_adapter(path)
    ggufs = sorted(p for p in path.glob("*.gguf") if not p.name.startswith("mmproj"))
    if ggufs and not any(path.glob("*.safetensors")):
        firsts = [p for p in ggufs if not (split := SPLIT_NAME.fullmatch(p.name)) or int(split[2]) == 1]
        if len(firsts) != 1:
            names = ", ".join(p.name for p in ggufs)
            raise HfcError(f"{path}: {len(ggufs)} GGUF files, one model is expected: {names}", hint="name one of them")
        return _open_gguf(firsts[0], MappedFile(firsts[0]))
    single, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if single.exists():
        return _open_hf(path, single)
    if index.exists():
        return _open_hf(path, index)
    others = sorted(path.glob("*.safetensors"))
    parts = [p.name for p in others if (part := PART_NAME.fullmatch(p.name)) and int(part[1]) > 1]
    if parts:
        raise HfcError(
            f"{path}: {parts[0]} is a part of a checkpoint whose model.safetensors.index.json is missing",
            hint="the download is incomplete: fetch what is missing into the same folder",
        )
    if len(others) != 1:
        raise HfcError(
            f"{path}: no model.safetensors, no model.safetensors.index.json and no .gguf",
            hint="this should be the directory that holds config.json and the weights",
        )
    return _open_hf(path, others[0])


def _open_hf(directory: Path, weights: Path) -> Checkpoint:
    """weights: a .safetensors file or the index of a sharded set. The other files are looked for beside it."""
    config_path = directory / "config.json"
    config = read_json(config_path) if config_path.exists() else {}
    if weights.name.endswith(".json"):
        files, tensors, metadata = open_shards(weights)
    else:
        files = [MappedFile(weights)]
        try:
            tensors, metadata = read_header(files[0], 0)
            tensors = container_tensors(weights, tensors, metadata)
            made_of = gguf_config(weights, metadata)
        except HfcError:
            files[0].close()
            raise
        if made_of is not None:
            return Checkpoint("gguf", weights, made_of, files, tensors, metadata=metadata)
    present = tuple(directory / name for name in TOKENIZER_FILES if (directory / name).is_file())
    where = directory if config else weights
    try:
        tensors, published = published_tensors(where, config, tensors)
    except HfcError:
        for file in files:
            file.close()
        raise
    config = without_quantization(config)
    return Checkpoint("hf", where, config, files, tensors, present, metadata, published=published)


def _open_hfqm(path: Path, file: MappedFile) -> Checkpoint:
    try:
        tensors, config, texts = read_hfqm(file)
    except HfcError:
        file.close()
        raise
    return Checkpoint("hf", path, config, [file], tensors, texts=texts)


def _open_gguf(path: Path, file: MappedFile) -> Checkpoint:
    """One GGUF, or all parts of a split one when given its first part."""
    files = [file]
    try:
        tensors, metadata = read_gguf(file)
        for part in _other_parts(path, metadata):
            files.append(MappedFile(part))
            more, _ = read_gguf(files[-1], len(files) - 1)
            twice = tensors.keys() & more.keys()
            if twice:
                raise HfcError(f"{part}: tensor {min(twice)!r} is already in an earlier part")
            tensors |= more
    except HfcError:
        for opened in files:
            opened.close()
        raise
    tensors, published = gguf_tensors(tensors)
    return Checkpoint("gguf", path, metadata, files, tensors, published=published)


def _other_parts(path: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """The remaining files of a split GGUF, whose names count up from ...-00001-of-00003.gguf."""
    count = metadata.get("split.count", 1)
    if type(count) is not int or count <= 1:
        return []
    name = SPLIT_NAME.fullmatch(path.name)
    if name is None or int(name[3]) != count or int(name[2]) != 1:
        raise HfcError(
            f"{path}: part of a GGUF split into {count} files",
            hint=f"open the first part, named like model-00001-of-{count:05d}.gguf, with the others beside it",
        )
    parts = [path.with_name(f"{name[1]}-{k:05d}-of-{name[3]}.gguf") for k in range(1, count + 1)]
    require_parts(path, parts)
    return parts[1:]

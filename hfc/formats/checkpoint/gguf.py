"""GGUF -> metadata and table of tensors. Every count and length is checked against the file before it is used.

Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version, counts; keys with typed values;
tensor rows (name, dimensions innermost first, type, offset); data, aligned to general.alignment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats.checkpoint.foreign import type_error
from hfc.formats.checkpoint.mapped import MappedFile
from hfc.formats.checkpoint.stored import GGUF_TYPES, TensorInfo, check_places, checked_info

# value type -> numpy dtype; 8 is a string, 9 an array
NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
STRING, ARRAY = 8, 9
MAX_NAME = 1 << 16  # bytes of a key or tensor name
MAX_ALIGNMENT = 1 << 20


@dataclass(frozen=True)
class LazyArray:
    """An array value that was checked and skipped: `count` items of `item_type` from byte `offset` on."""

    item_type: int
    count: int
    offset: int


class Metadata(Mapping[str, Any]):
    """The key-value pairs of a GGUF, in file order. Arrays become lists when they are first asked for."""

    def __init__(self, file: MappedFile, values: dict[str, Any]):
        self._file = file
        self._values = values

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        if isinstance(value, LazyArray):
            value = self._values[key] = self._decode(value)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<{len(self)} GGUF keys of {self._file.path}>"

    def _decode(self, array: LazyArray) -> list:
        if not self._file.data.size:
            raise HfcError(f"{self._file.path}: the checkpoint was closed before this array was read")
        if array.item_type == STRING:
            return _decode_strings(self._file, array)
        dtype = np.dtype(NUMBERS[array.item_type])
        return self._file.data[array.offset : array.offset + array.count * dtype.itemsize].view(dtype).tolist()

    def texts(self, key: str) -> TextTable | None:
        """An array of strings as it lies in the file; None for what is none, or was made a list."""
        value = self._values.get(key)
        if not isinstance(value, LazyArray) or value.item_type != STRING or not self._file.data.size:
            return None
        starts, at, source, length_of = [], value.offset, self._file.map, struct.Struct("<Q").unpack_from
        for _ in range(value.count):
            starts.append(at + 8)
            at += 8 + length_of(source, at)[0]
        return TextTable(source[value.offset : at], np.array(starts, np.int64) - value.offset)


class TextTable(Sequence[str]):
    """An array of strings: its bytes, and where each begins, eight bytes with its length before it. A copy, so that the file may close."""

    def __init__(self, data: bytes, starts: np.ndarray):
        self.data, self.starts = data, starts
        self.lengths = np.append(starts[1:] - 8, len(data))[: len(starts)] - starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode("utf-8", "surrogateescape")

    def raw(self, index: int) -> bytes:
        start = self.starts[index]
        return self.data[start : start + self.lengths[index]]


def _decode_strings(file: MappedFile, array: LazyArray) -> list[str]:
    """Lengths were checked when the array was skipped. A vocabulary may hold any bytes: they survive as surrogates."""
    items, at, source = [], array.offset, file.map
    for _ in range(array.count):
        start = at + 8
        at = start + int.from_bytes(source[at:start], "little")
        items.append(source[start:at].decode("utf-8", "surrogateescape"))
    return items


class Reader:
    """A position in a file, and reads that fail with a message instead of running over the end."""

    def __init__(self, file: MappedFile):
        self.file = file
        self.at = 0

    def error(self, message: str, hint: str = "the download is incomplete or the file is damaged") -> HfcError:
        return HfcError(f"{self.file.path}: {message}", hint=hint)

    def need(self, nbytes: int, what: str) -> None:
        left = self.file.size - self.at
        if nbytes > left:
            raise self.error(f"{what} needs {nbytes} bytes at byte {self.at}, the file has {left} more")

    def take(self, nbytes: int, what: str) -> bytes:
        self.need(nbytes, what)
        self.at += nbytes
        return self.file.map[self.at - nbytes : self.at]

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def text(self, what: str, limit: int | None = None) -> str:
        length = self.u64(f"the length of {what}")
        if limit is not None and length > limit:
            raise self.error(f"{what} claims {length} bytes, at most {limit} are allowed")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-8 text") from None

    def count(self, claimed: int, least: int, what: str) -> int:
        """A number of items that take at least `least` bytes each, if that many fit in the rest of the file."""
        self.need(claimed * least, f"{claimed} {what}")
        return claimed

    def value(self, key: str) -> Any:
        kind = self.u32(f"the type of key {key!r}")
        what = f"the value of key {key!r}"
        if kind == STRING:
            return self.text(what)
        if kind == ARRAY:
            return self._array(key)
        if kind not in NUMBERS:
            raise self.error(f"key {key!r} has unknown value type {kind}")
        dtype = np.dtype(NUMBERS[kind])
        raw = self.take(dtype.itemsize, what)
        if kind == 7 and raw[0] > 1:
            raise self.error(f"{what} is a bool of {raw[0]}")
        return np.frombuffer(raw, dtype)[0].item()

    def _array(self, key: str) -> LazyArray:
        """Check an array and step over it."""
        kind = self.u32(f"the item type of array {key!r}")
        claimed = self.u64(f"the length of array {key!r}")
        if kind in NUMBERS:
            size = np.dtype(NUMBERS[kind]).itemsize
            array = LazyArray(kind, self.count(claimed, size, f"items of array {key!r}"), self.at)
            self.at += claimed * size
            return array
        if kind != STRING:
            what = "arrays of arrays" if kind == ARRAY else f"unknown item type {kind}"
            raise self.error(f"key {key!r}: {what} are not possible in a model file")
        array = LazyArray(kind, self.count(claimed, 8, f"items of array {key!r}"), self.at)
        self.at = self._after_strings(key, claimed)
        return array

    def _after_strings(self, key: str, count: int) -> int:
        """Where an array of strings ends; a plain loop, since a vocabulary has hundreds of thousands of them."""
        at, size, source, length_of = self.at, self.file.size, self.file.map, struct.Struct("<Q").unpack_from
        for index in range(count):
            if at + 8 > size:
                raise self.error(f"array {key!r} ends early: item {index} of {count} lies past byte {size}")
            at += 8 + length_of(source, at)[0]
        if at > size:
            raise self.error(f"array {key!r} of {count} strings runs to byte {at}, the file has {size}")
        return at


def read_gguf(file: MappedFile, number: int = 0) -> tuple[dict[str, TensorInfo], Metadata]:
    """Tensors and metadata of one file."""
    reader = Reader(file)
    _check_version(reader)
    tensor_count = reader.count(reader.u64("the tensor count"), 24, "tensors")
    key_count = reader.count(reader.u64("the key count"), 13, "metadata keys")
    values: dict[str, Any] = {}
    for index in range(key_count):
        key = reader.text(f"metadata key {index}", MAX_NAME)
        if key in values:
            raise reader.error(f"metadata key {key!r} is given twice")
        values[key] = reader.value(key)
    alignment = _alignment(reader, values.get("general.alignment", 32))
    rows = [_tensor_row(reader, index) for index in range(tensor_count)]
    start = -(-reader.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, offset in rows:
        if name in tensors:
            raise reader.error(f"tensor {name!r} is given twice")
        if kind not in GGUF_TYPES:
            raise reader.error(*type_error(name, kind))
        if offset % alignment:
            raise reader.error(
                f"tensor {name!r} starts at offset {offset}, not a multiple of the alignment, {alignment}"
            )
        tensors[name] = checked_info(file.path, name, GGUF_TYPES[kind], shape, start + offset, number)
    check_places(file.path, tensors.values(), start, file.size)
    return tensors, Metadata(file, values)


def _check_version(reader: Reader) -> None:
    magic = reader.take(4, "the magic number")
    if magic != b"GGUF":
        raise reader.error(f"not a GGUF file: it starts with {magic!r}", "check that this is the file you mean")
    version = reader.u32("the version")
    if version and version & 0xFFFF == 0:
        raise reader.error(
            "a big-endian GGUF; hfc reads little-endian ones", "convert it with gguf-py's gguf_convert_endian"
        )
    if version not in (2, 3):
        raise reader.error(
            f"GGUF version {version}; hfc reads 2 and 3", "convert the model again with a current llama.cpp"
        )


def _alignment(reader: Reader, found: Any) -> int:
    if type(found) is not int or not 0 < found <= MAX_ALIGNMENT or found & (found - 1):
        raise reader.error(f"general.alignment is {found!r}, a power of two up to {MAX_ALIGNMENT} is expected")
    return found


def _tensor_row(reader: Reader, index: int) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape outermost first, type number, offset in the data)"""
    name = reader.text(f"the name of tensor {index}", MAX_NAME)
    rank = reader.u32(f"the rank of tensor {name!r}")
    if rank > 4:
        raise reader.error(f"tensor {name!r} claims {rank} dimensions, GGUF has at most 4")
    shape = tuple(reader.u64(f"a dimension of tensor {name!r}") for _ in range(rank))[::-1]
    return name, shape, reader.u32(f"the type of tensor {name!r}"), reader.u64(f"the offset of tensor {name!r}")

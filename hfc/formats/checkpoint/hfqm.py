"""HFQM, hipfire's container (.hfq, .mq4, .mq6): header, one JSON object, index, data -> config, texts and table of tensors.

    "HFQM", u32 version (1), u32 architecture, u32 tensors, u64 where the JSON begins, u64 where the data begins
    the JSON: {"config": config.json, "tokenizer": the text of tokenizer.json, "tokenizer_config": …}
    u32 tensors; for each u16 length and name, u8 type, u8 rank and u32 dimensions, u32 group, u64 bytes
    the data of all tensors in the order of the index, without gaps

Where the JSON ends only its braces say. Layout: https://github.com/warpfront/hipfire, crates/hipfire-quantize/src/main.rs.
"""

from __future__ import annotations

import json
import math
from typing import Any

from hfc.formats import weight_format
from hfc.formats.block import BlockFormat
from hfc.formats.checkpoint.gguf import MAX_NAME, Reader
from hfc.formats.checkpoint.mapped import JSON_LIMIT, MappedFile, parse_json
from hfc.formats.checkpoint.stored import MAX_RANK, StoredType, TensorInfo, check_places, checked_info

MAGIC = b"HFQM"
HEADER_BYTES = 32
VERSION = 1
SMALLEST_ROW = 2 + 1 + 1 + 4 + 8  # bytes of an index entry without name and dimensions

# main.rs, enum QuantType
FORMATS_BY_TYPE = {
    1: "f16", 2: "f32", 3: "q8_0", 4: "q4_k", 6: "hfq4g256", 7: "hfq4g128", 8: "hfq6g256", 11: "hfq3g256", 13: "mq4g256",
    14: "mq8g256", 15: "mq6g256", 16: "bf16", 17: "mq3g256", 21: "hfp4g32", 24: "mfp4g32", 44: "mq4g256v2", 47: "mq6g256v2",
    49: "mq3g256v2",
}  # fmt: skip
OTHER_TYPES = {
    0: "q4f16g64", 5: "q8hfq", 9: "hfq2g256", 10: "hfq2g128", 12: "hfq3g128", 18: "mq2g256", 19: "mq2g256lloyd", 20: "mq3g256lloyd",
    45: "mq4c", 48: "mq5g256v2", 50: "mq2g256v2", 52: "mq4g256v2lloyd",
}  # fmt: skip
# What lies beside the weights in a folder -> its key in the JSON.
TEXTS = {
    "tokenizer.json": "tokenizer",
    "tokenizer_config.json": "tokenizer_config",
    "generation_config.json": "generation_config",
}


def read_hfqm(file: MappedFile) -> tuple[dict[str, TensorInfo], dict[str, Any], dict[str, str]]:
    """Tensors, config.json, and the texts of the files that would lie beside it, by name."""
    reader = Reader(file)
    magic, version = reader.take(4, "the magic number"), reader.u32("the version")
    if magic != MAGIC:
        raise reader.error(f"not an HFQM file: it starts with {magic!r}", "check that this is the file you mean")
    if version != VERSION:
        raise reader.error(
            f"HFQM version {version}; hfc reads {VERSION}",
            "make the file again with a release of hipfire, or with hfc quantize",
        )
    reader.u32("the architecture")
    claimed = reader.u32("the tensor count")
    start, data = reader.u64("the place of the metadata"), reader.u64("the place of the data")
    if not HEADER_BYTES <= start <= data <= file.size:
        raise reader.error(
            f"metadata at byte {start} and data at byte {data} do not lie one after the other in {file.size} bytes"
        )
    metadata, reader.at = _metadata(reader, start, data)
    return _index(reader, claimed, data), _config(reader, metadata), _texts(reader, metadata)


def _metadata(reader: Reader, start: int, data: int) -> tuple[dict[str, Any], int]:
    """The JSON object and the byte after it."""
    # As Latin-1 a character is a byte, so the end that the scanner finds is the place in the file.
    text = reader.file.map[start : min(data, start + JSON_LIMIT)].decode("latin-1")
    try:
        _, length = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise reader.error(f"the metadata is not valid JSON: {error}") from None
    return parse_json(reader.file.map[start : start + length], f"{reader.file.path} (metadata)"), start + length


def _config(reader: Reader, metadata: dict[str, Any]) -> dict[str, Any]:
    config = metadata.get("config")
    if not isinstance(config, dict):
        raise reader.error(
            "the metadata has no config", "only files that hipfire made of a Hugging Face model say what they are"
        )
    return config


def _texts(reader: Reader, metadata: dict[str, Any]) -> dict[str, str]:
    found = {name: metadata[key] for name, key in TEXTS.items() if metadata.get(key) is not None}
    for name, value in found.items():
        if not isinstance(value, (str, dict)):
            raise reader.error(f"{TEXTS[name]} in the metadata is a {type(value).__name__}, not the text of {name}")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _index(reader: Reader, claimed: int, data: int) -> dict[str, TensorInfo]:
    count = reader.count(reader.u32("the count of the index"), SMALLEST_ROW, "tensors")
    if count != claimed:
        raise reader.error(f"the header counts {claimed} tensors, the index {count}")
    tensors: dict[str, TensorInfo] = {}
    at = data
    for number in range(count):
        info = _row(reader, number, at)
        if info.name in tensors:
            raise reader.error(f"tensor {info.name!r} is given twice")
        tensors[info.name] = info
        at += info.nbytes
    if reader.at > data:
        raise reader.error(f"the index runs to byte {reader.at}, the data begins at {data}")
    check_places(reader.file.path, tensors.values(), data, reader.file.size)
    return tensors


def _row(reader: Reader, number: int, at: int) -> TensorInfo:
    """One entry of the index, whose data begins at byte `at`."""
    length = int.from_bytes(reader.take(2, f"the length of name {number}"), "little")
    assert length < MAX_NAME, "16 bits hold no longer name"
    try:
        name = reader.take(length, f"name {number}").decode()
    except UnicodeDecodeError:
        raise reader.error(f"the name of tensor {number} is not UTF-8 text") from None
    kind, rank = reader.take(2, f"type and rank of tensor {name!r}")
    if rank > MAX_RANK:
        raise reader.error(f"tensor {name!r} claims {rank} dimensions, at most {MAX_RANK} are possible")
    shape = tuple(reader.u32(f"a dimension of tensor {name!r}") for _ in range(rank))
    if 0 in shape:
        raise reader.error(f"tensor {name!r} has no elements: {list(shape)}")
    reader.u32(f"the group of tensor {name!r}")
    nbytes = reader.u64(f"the size of tensor {name!r}")
    if kind not in FORMATS_BY_TYPE:
        return _unknown(reader, name, kind, shape, at, nbytes)
    info = _known(reader, name, FORMATS_BY_TYPE[kind], shape, at)
    if info.nbytes != nbytes:
        raise reader.error(
            f"tensor {name!r}: {FORMATS_BY_TYPE[kind]}{list(shape)} takes {info.nbytes} bytes, the index says {nbytes}"
        )
    return info


def _known(reader: Reader, name: str, format: str, shape: tuple[int, ...], at: int) -> TensorInfo:
    form, last = weight_format(format), shape[-1] if shape else 1
    checked_info(reader.file.path, name, StoredType(format, 1, 1), shape, at, 0)  # a size that is possible
    if last % form.block == 0:
        row_bytes = form.row_bytes(last)
        return TensorInfo(name, format, shape, at, math.prod(shape[:-1]) * row_bytes, row_bytes)
    # Narrow tensors (convolutions of 4 taps) are packed as one long row.
    count = math.prod(shape)
    if count % form.block or not isinstance(form, BlockFormat):
        raise reader.error(f"tensor {name!r}: rows of {last} are no multiple of the block of {format}, {form.block}")
    return TensorInfo(name, "f32", shape, at, form.row_bytes(count), 4 * last, packed=format)


def _unknown(reader: Reader, name: str, kind: int, shape: tuple[int, ...], at: int, nbytes: int) -> TensorInfo:
    """A tensor that can be listed and not computed with."""
    format = f"hipfire type {kind}" + (f" ({OTHER_TYPES[kind]})" if kind in OTHER_TYPES else "")
    checked_info(reader.file.path, name, StoredType(format, 1, 1), shape, at, 0)
    rows = math.prod(shape[:-1])
    if nbytes % max(1, rows):
        raise reader.error(
            f"tensor {name!r}: {nbytes} bytes of {format} are no {rows} rows",
            "quantize the model again with hfc quantize",
        )
    return TensorInfo(name, format, shape, at, nbytes, nbytes // max(1, rows))

"""safetensors -> table of tensors: single files and sharded sets (model.safetensors.index.json)."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from hfc.base.diagnostics import HfcError, unknown
from hfc.formats.checkpoint.mapped import JSON_LIMIT, MappedFile, parse_json, read_json, require_parts
from hfc.formats.checkpoint.stored import SAFETENSORS_TYPES, TensorInfo, check_places, checked_info


def read_header(file: MappedFile, number: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors and `__metadata__` of one file: u64 header length, JSON header, data."""
    if file.size < 8:
        raise HfcError(f"{file.path}: {file.size} bytes are too few for a safetensors file", hint="download it again")
    length = int.from_bytes(file.map[:8], "little")
    if length > min(file.size - 8, JSON_LIMIT):
        raise HfcError(
            f"{file.path}: the header claims {length} bytes, the file has {file.size - 8} after its length",
            hint="the download is incomplete, or this is not a safetensors file",
        )
    header = parse_json(file.map[8 : 8 + length], f"{file.path} (header)")
    metadata = _metadata(file.path, header.pop("__metadata__", None))
    tensors = {name: _tensor(file.path, name, entry, 8 + length, number) for name, entry in header.items()}
    check_places(file.path, tensors.values(), 8 + length, file.size)
    return tensors, metadata


def _metadata(where: Path, found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise HfcError(f"{where}: __metadata__ must map names to strings")
    return found


def _tensor(where: Path, name: str, entry: Any, start: int, number: int) -> TensorInfo:
    """One header entry: {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, offsets from `start`."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise HfcError(f"{where}: tensor {name!r} needs dtype, shape and data_offsets, found {_short(entry)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SAFETENSORS_TYPES:
        raise unknown(f"dtype of tensor {name!r} in {where}:", _short(dtype), SAFETENSORS_TYPES)
    if not _sizes(shape):
        raise HfcError(f"{where}: tensor {name!r} has shape {_short(shape)}, a list of sizes is expected")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise HfcError(f"{where}: tensor {name!r} has data_offsets {_short(offsets)}, [begin, end] is expected")
    info = checked_info(where, name, SAFETENSORS_TYPES[dtype], tuple(shape), start + offsets[0], number)
    if info.nbytes != offsets[1] - offsets[0]:
        raise HfcError(
            f"{where}: tensor {name!r}: {dtype}{shape} takes {info.nbytes} bytes, data_offsets give "
            f"{offsets[1] - offsets[0]}",
            hint="the file is damaged",
        )
    return info


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def open_shards(index_path: Path) -> tuple[list[MappedFile], dict[str, TensorInfo], dict[str, str]]:
    """The files of an index, each opened once, and the tensors that the index names."""
    weight_map = read_json(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise HfcError(f"{index_path}: weight_map is missing or empty")
    for name, shard in weight_map.items():
        # a name with a directory could lead anywhere on the disk
        if not isinstance(shard, str) or PurePath(shard).name != shard or not shard.endswith(".safetensors"):
            raise HfcError(
                f"{index_path}: tensor {name!r} is in {_short(shard)!r}, which is not a plain .safetensors name"
            )
    files: list[MappedFile] = []
    headers: dict[str, dict[str, TensorInfo]] = {}
    metadata: dict[str, str] = {}
    shards = sorted(set(weight_map.values()))
    require_parts(index_path, [index_path.parent / shard for shard in shards])
    try:
        for shard in shards:
            files.append(MappedFile(index_path.parent / shard))
            headers[shard], more = read_header(files[-1], len(files) - 1)
            metadata |= more
        tensors = {name: _in_shard(index_path, headers, name, shard) for name, shard in weight_map.items()}
    except HfcError:
        for file in files:
            file.close()
        raise
    return files, tensors, metadata


def _in_shard(index_path: Path, headers: dict[str, dict[str, TensorInfo]], name: str, shard: str) -> TensorInfo:
    if name not in headers[shard]:
        raise HfcError(f"{index_path}: tensor {name!r} should be in {shard}, which does not have it")
    return headers[shard][name]

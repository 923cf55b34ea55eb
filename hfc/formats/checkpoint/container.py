"""hfc's container: a safetensors file whose metadata says what its bytes are. `hfc quantize` writes it; every reader here opens it.

Quantized tensors are stored as U8 [..., row_bytes], so that any safetensors library can list them. `__metadata__`, all JSON:

    hfc.tensors     {name: {"format": "mq4g256", "shape": [2048, 1024]}}; tensors that it does not name are what they say
    hfc.source      {"kind": "hf" | "gguf", "name": ..., "target": format, "method": how it was packed}
    hfc.gguf        the key-value pairs of a GGUF source, tokenizer included
    hfc.report      what `hfc quantize --eval` measured

Tensors begin at multiples of 256 bytes; what lies between is named hfc.padding.N, as safetensors allows no holes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfc.base.diagnostics import HfcError
from hfc.formats import READABLE, weight_format
from hfc.formats.checkpoint.mapped import parse_json
from hfc.formats.checkpoint.stored import TensorInfo

ALIGNMENT = 256
PADDING = "hfc.padding."
TENSORS, SOURCE, GGUF, REPORT = "hfc.tensors", "hfc.source", "hfc.gguf", "hfc.report"


def container_tensors(
    where: Path, tensors: dict[str, TensorInfo], metadata: Mapping[str, str]
) -> dict[str, TensorInfo]:
    """The tensors with their formats and shapes; those of a plain safetensors file as they are."""
    if TENSORS not in metadata:
        return tensors
    declared = parse_json(metadata[TENSORS].encode(), f"{where} ({TENSORS})")
    lost = sorted(declared.keys() - tensors.keys())
    if lost:
        raise HfcError(
            f"{where}: {TENSORS} names {lost[0]!r}, which the file does not have", hint="the file is damaged"
        )
    real = {name: info for name, info in tensors.items() if not name.startswith(PADDING)}
    return {name: _declared(where, info, declared[name]) if name in declared else info for name, info in real.items()}


def _declared(where: Path, info: TensorInfo, entry: Any) -> TensorInfo:
    good = isinstance(entry, dict) and isinstance(entry.get("shape"), list) and entry.get("format") in READABLE
    if not good or not all(type(n) is int and n > 0 for n in entry["shape"]):
        raise HfcError(
            f"{where}: tensor {info.name!r}: {entry} is no format and shape that this hfc knows", hint="update hfc"
        )
    shape = tuple(entry["shape"])
    row_bytes = weight_format(entry["format"]).row_bytes(shape[-1])
    if row_bytes * math.prod(shape[:-1]) != info.nbytes:
        raise HfcError(
            f"{where}: tensor {info.name!r}: {entry['format']}{list(shape)} takes {row_bytes * math.prod(shape[:-1])} bytes, "
            f"it has {info.nbytes}",
            hint="the file is damaged",
        )
    return replace(info, format=entry["format"], shape=shape, row_bytes=row_bytes)


def gguf_config(where: Path, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The key-value pairs of the GGUF that a container was made from; None for another origin."""
    return parse_json(metadata[GGUF].encode(), f"{where} ({GGUF})") if GGUF in metadata else None


def method_of(metadata: Mapping[str, str]) -> str:
    """How the container's weights were packed: "imatrix, awq, gptq"; empty for plain rounding and files of another origin."""
    source = parse_json(metadata[SOURCE].encode(), SOURCE) if SOURCE in metadata else {}
    return str(source.get("method", ""))


def report_of(metadata: Mapping[str, str], where: str = "the file") -> dict[str, Any]:
    """What was measured when the container was made; empty if nothing was."""
    return parse_json(metadata[REPORT].encode(), f"{where} ({REPORT})") if REPORT in metadata else {}

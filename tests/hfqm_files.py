"""Writes HFQM files from their description, for tests of the reader."""

import json
import struct

import numpy as np

TYPES = {
    "f16": 1,
    "f32": 2,
    "q8_0": 3,
    "hfq4g256": 6,
    "hfq4g128": 7,
    "mq4g256": 13,
    "hfp4g32": 21,
    "mfp4g32": 24,
    "mq4g256v2": 44,
}


def hfqm(tensors: dict[str, tuple[int, tuple[int, ...], bytes]], config: dict, align: int = 4096, **texts) -> bytes:
    """tensors: name -> type number, shape, data."""
    metadata = json.dumps({"architecture": "test", "config": config, **texts}).encode()
    index = struct.pack("<I", len(tensors))
    for name, (kind, shape, data) in tensors.items():
        index += struct.pack(
            f"<H{len(name)}sBB{len(shape)}IIQ", len(name), name.encode(), kind, len(shape), *shape, 256, len(data)
        )
    head = 32 + len(metadata) + len(index)
    start = -(-head // align) * align
    header = struct.pack("<4sIIIQQ", b"HFQM", 1, 5, len(tensors), 32, start)
    return (header + metadata + index).ljust(start, b"\0") + b"".join(data for _, _, data in tensors.values())


def entry(form, x: np.ndarray, shape: tuple[int, ...] | None = None) -> tuple[int, tuple[int, ...], bytes]:
    """A tensor of hfqm(): `x` packed, rotated before if the format is. form: of hfc.formats."""
    return TYPES[form.name], shape or x.shape, form.pack(x).tobytes()

"""What checkpoint files may hold: element types by the file's own name or number, and the checks of shape and place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import FORMATS

MAX_RANK = 8
MAX_ELEMENTS = 1 << 48  # far above any file, far below where index arithmetic overflows


@dataclass(frozen=True)
class StoredType:
    """`format`: a weight format, or a type that hfc knows the size of but does not compute with."""

    format: str
    block: int
    block_bytes: int


@dataclass(frozen=True)
class TensorInfo:
    """shape: row-major, outermost first.  offset: bytes from the start of file number `file` of the checkpoint.

    packed: the format of the bytes where they are one long row across the tensor's own rows; they are read as f32."""

    name: str
    format: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    row_bytes: int
    file: int = 0
    packed: str = ""


def _formats_by(attribute: str) -> dict:
    named = {getattr(f, attribute): StoredType(f.name, f.block, f.block_bytes) for f in FORMATS.values()}
    return {key: stored for key, stored in named.items() if key is not None}


# numbers and sizes: ggml.h (enum ggml_type) and gguf-py's GGML_QUANT_SIZES
GGUF_TYPES: dict[int, StoredType] = _formats_by("gguf_type") | {
    number: StoredType(name, block, nbytes)
    for number, name, block, nbytes in (
        (15, "q8_k", 256, 292), (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98),
        (19, "iq1_s", 256, 50), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82), (24, "i8", 1, 1), (25, "i16", 1, 2),
        (26, "i32", 1, 4), (27, "i64", 1, 8), (28, "f64", 1, 8), (29, "iq1_m", 256, 56), (34, "tq1_0", 256, 54),
        (35, "tq2_0", 256, 66), (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36),
    )
}  # fmt: skip

SAFETENSORS_TYPES: dict[str, StoredType] = _formats_by("safetensors_dtype") | {
    name: StoredType(name.lower(), 1, nbytes)
    for name, nbytes in (
        ("BOOL", 1), ("U8", 1), ("I8", 1), ("F8_E4M3", 1), ("F8_E5M2", 1), ("F8_E8M0", 1), ("U16", 2), ("I16", 2),
        ("U32", 4), ("I32", 4), ("U64", 8), ("I64", 8), ("F64", 8), ("C64", 8),
    )
}  # fmt: skip


def checked_info(
    where: Path, name: str, stored: StoredType, shape: tuple[int, ...], offset: int, file: int
) -> TensorInfo:
    """The row of one tensor; the sizes follow from type and shape, whatever the file says about them."""
    if len(shape) > MAX_RANK:
        raise HfcError(f"{where}: tensor {name!r} has {len(shape)} dimensions, at most {MAX_RANK} are possible")
    count = 1
    for size in shape:
        count *= max(size, 1)
        if count > MAX_ELEMENTS:
            raise HfcError(
                f"{where}: tensor {name!r} claims an impossible shape {list(shape)}", hint="the file is damaged"
            )
    last = shape[-1] if shape else 1
    if last % stored.block:
        raise HfcError(
            f"{where}: tensor {name!r} is {stored.format} with rows of {last} elements, which is not a multiple of "
            f"its block, {stored.block}",
            hint="the file is damaged",
        )
    row_bytes = last // stored.block * stored.block_bytes
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return TensorInfo(name, stored.format, shape, offset, rows * row_bytes, row_bytes, file)


def check_places(where: Path, tensors: Iterable[TensorInfo], start: int, size: int) -> None:
    """Every tensor lies between byte `start` and `size` of its file, and no two share a byte."""
    end, last = start, None
    for info in sorted((t for t in tensors if t.nbytes), key=lambda t: t.offset):
        if info.offset + info.nbytes > size:
            raise HfcError(
                f"{where}: tensor {info.name!r} is truncated: {info.format}{list(info.shape)} needs bytes "
                f"{info.offset} to {info.offset + info.nbytes}, the file has {size}",
                hint="the download is incomplete or the file is damaged",
            )
        if info.offset < end:
            other = f"tensor {last.name!r}" if last else "the header"
            raise HfcError(f"{where}: tensor {info.name!r} at byte {info.offset} overlaps {other}, which ends at {end}")
        end, last = info.offset + info.nbytes, info

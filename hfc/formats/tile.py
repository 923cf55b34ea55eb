"""The CPU layout "tile16": a weight [N, K] of any format becomes tiles of 16 rows that stream along K.

A quantized tile is a run of panels of 64 k, each: scales, [minimums,] codes. Scales and minimums are vectors of 16 rows, one
for each group of 16 or 32 k, f16 where the format stores them so, else f32. Codes are vectors of 16 rows x 4 consecutive k
(a quad): 8-bit codes quad after quad; 4-bit codes with quad 2i in the low and 2i + 1 in the high nibbles of vector i.
A tile of plain floats is [K][16 rows]. N is padded to 16 and K to 64 with zeros; experts follow each other.

    w = scale * (code + zero) + min; table formats look the nibble up first, as table[nibble] + 128 with zero = -128
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hfc.formats.block import BlockFormat

LANES = 16
PANEL = 64
QUAD = 4
CHUNK_CODES = 1 << 20  # codes packed at a time, so that numpy's temporaries stay in the cache


@dataclass(frozen=True)
class TileLayout:
    """element: "code", or the scalar type of plain weights (f32, f16, bf16), whose other fields are 0.

    bits: of a stored code, 4 or 8.  group: k per scale, 16 or 32.  scale_bytes: 2 (f16) or 4 (f32).
    """

    element: str
    bits: int = 0
    group: int = 0
    scale_bytes: int = 0
    has_min: bool = False
    zero: int = 0
    table: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Equal layouts have equal keys; part of C names."""
        if self.element != "code":
            return self.element
        table = "_t" + "_".join(str(v) for v in self.table[:2]) if self.table else ""
        return f"q{self.bits}_g{self.group}_s{self.scale_bytes}{'_m' if self.has_min else ''}_z{-self.zero}{table}"

    @property
    def header_bytes(self) -> int:
        """Scales and minimums of a panel."""
        return PANEL // self.group * LANES * self.scale_bytes * (2 if self.has_min else 1)

    @property
    def panel_bytes(self) -> int:
        return self.header_bytes + LANES * PANEL * self.bits // 8

    def panels(self, k: int) -> int:
        return -(-k // PANEL)

    def tile_bytes(self, k: int) -> int:
        """Bytes of 16 rows of `k` elements."""
        if self.element == "code":
            return self.panels(k) * self.panel_bytes
        return k * LANES * (4 if self.element == "f32" else 2)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a weight [..., N, K]."""
        return math.prod(shape[:-2]) * tiles(shape[-2]) * self.tile_bytes(shape[-1])


def tiles(n: int) -> int:
    return -(-n // LANES)


def tile_layout(form: BlockFormat) -> TileLayout:
    """How weights of a format lie in tiles."""
    if not form.quantized:
        return TileLayout(form.fields[0].dtype)
    stored = {f.name for f in form.fields if f.dtype == "f16"}
    scale_bytes = 2 if form.scale in stored and (not form.min or form.min in stored) else 4
    bits = 4 if sum(plane.bits for plane in form.codes["q"].planes) <= 4 else 8
    table = tuple(value + 128 for value in form.table)
    zero = -128 if table else form.zero
    assert form.group in (16, 32), f"{form.name}: groups of {form.group} do not fit a tile"
    return TileLayout("code", bits, form.group, scale_bytes, bool(form.min), zero, table)


def pack_tiles(form: BlockFormat, raw: np.ndarray, shape: tuple[int, ...], out: np.ndarray | None = None) -> np.ndarray:
    """uint8 [..., N, row_bytes(K)] -> uint8 [nbytes] in tiles. `out`: zeroed memory to fill, else it is allocated."""
    layout = tile_layout(form)
    n, k = shape[-2:]
    rows = raw.reshape(-1, n, raw.shape[-1])
    if out is None:
        out = np.zeros(layout.nbytes(shape), np.uint8)
    assert out.nbytes == layout.nbytes(shape) and out.dtype == np.uint8, "tiles need uint8 memory of their exact size"
    matrices = out.reshape(len(rows), tiles(n), layout.tile_bytes(k))
    step = LANES * max(1, CHUNK_CODES // (k * LANES))
    for matrix, target in zip(rows, matrices):
        for start in range(0, n, step):
            part = matrix[start : start + step]
            place = target[start // LANES : (start + len(part) + LANES - 1) // LANES]
            if layout.element == "code":
                _put_codes(layout, form, part, k, place)
            else:
                _put_floats(part.view(np.uint32 if layout.element == "f32" else np.uint16), place)
    return out


def _put_floats(part: np.ndarray, place: np.ndarray) -> None:
    """Bits [rows, K] -> place, uint8 [tiles, K * 16 * size]."""
    rows, k = part.shape
    bits = np.zeros((len(place) * LANES, k), part.dtype)
    bits[:rows] = part
    place.view(part.dtype)[:] = bits.reshape(len(place), LANES, k).transpose(0, 2, 1).reshape(len(place), -1)


def _put_codes(layout: TileLayout, form: BlockFormat, part: np.ndarray, k: int, place: np.ndarray) -> None:
    """Blocks of some rows -> place, uint8 [tiles, tile_bytes]."""
    count, panels = len(place), layout.panels(k)
    made = form.decompose(np.ascontiguousarray(part))
    codes = _padded(made.codes, count, panels * PANEL)
    panel = place.reshape(count, panels, layout.panel_bytes)
    if layout.bits == 4:
        pairs = codes.reshape(-1, 2, QUAD)
        codes = pairs[:, 0] | pairs[:, 1] << np.uint8(4)
    quads = np.ascontiguousarray(codes).view(np.uint32).reshape(count, LANES, panels, -1)
    width = layout.panel_bytes - layout.header_bytes
    panel[:, :, layout.header_bytes :] = np.ascontiguousarray(quads.transpose(0, 2, 3, 1)).view(np.uint8).reshape(count, panels, width)
    numbers = [made.scale, made.min] if layout.has_min else [made.scale]
    dtype = np.float16 if layout.scale_bytes == 2 else np.float32
    for i, values in enumerate(numbers):
        vectors = _padded(values.astype(dtype), count, panels * PANEL // layout.group).reshape(count, LANES, panels, -1)
        size = layout.header_bytes // len(numbers)
        flat = np.ascontiguousarray(vectors.transpose(0, 2, 3, 1)).view(np.uint8).reshape(count, panels, size)
        panel[:, :, i * size : (i + 1) * size] = flat


def _padded(values: np.ndarray, count: int, columns: int) -> np.ndarray:
    """[rows, c] -> [count * 16, columns], zeros behind both ends."""
    if values.shape == (count * LANES, columns):
        return values
    out = np.zeros((count * LANES, columns), values.dtype)
    out[: len(values), : values.shape[1]] = values
    return out

"""The CPU layout "tile16": a weight [N, K] of any format becomes tiles of 16 rows that stream along K.

A quantized tile is a run of spans, each a header and the codes of its panels of 64 k. The header holds vectors of 16 rows:
scales, then minimums, one for each group of 16 or 32 k. Where the format scales twice (d * sc under a block of 256 k), the
header holds d [and dmin] as f16 (f32 where they are wider), then sc [and m] as i8, and the span is the block; elsewhere the span is a panel and the
numbers are f16 where the format stores them so, else f32. Headers are padded to 64 bytes.

Codes of half a panel are 8 quads: vectors of 16 rows x 4 consecutive k. Eight-bit codes are stored quad after quad; others
in planes of 4, 2 and 1 bits (5 = 4 + 1), low bits first: a byte holds the same element of 2, 4 or 8 consecutive quads.

A tile of plain floats is [K][16 rows]. N is padded to 16 and K to the span with zeros; experts follow each other.

    w = scale * (code + zero) + min; table formats look the code up first, as table[code] + 128 with zero = -128
"""

from __future__ import annotations

import math

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat

LANES = 16
PANEL = 64
QUAD = 4
WIDEST_GROUP = 32  # scales of wider groups are repeated
VECTOR_BYTES = 64
CHUNK_CODES = 1 << 20  # codes packed at a time, so that numpy's temporaries stay in the cache


@dataclass(frozen=True)
class TileLayout:
    """element: "code", or the scalar type of plain weights (f32, f16, bf16), whose other fields are 0.

    bits: of a stored code.  group: k per scale, 16 or 32.  scale_bytes: 4 (f32), 2 (f16) or 1 (i8 under an f16 a span).
    span: panels that share a header.  outer_bytes: of a span's number above scales of one byte, 2 (f16) or 4 (f32).
    """

    element: str
    bits: int = 0
    group: int = 0
    scale_bytes: int = 0
    has_min: bool = False
    zero: int = 0
    table: tuple[int, ...] = ()
    span: int = 1
    outer_bytes: int = 2

    @property
    def key(self) -> str:
        """Equal layouts have equal keys; part of C names."""
        if self.element != "code":
            return self.element
        table = "_t" + "_".join(str(v) for v in self.table[:2]) if self.table else ""
        outer = "w" if self.outer_bytes == 4 else ""
        return (
            f"q{self.bits}_g{self.group}_s{self.scale_bytes}{outer}{'_m' if self.has_min else ''}_z{-self.zero}{table}"
        )

    @property
    def planes(self) -> tuple[int, ...]:
        """Bits of each stored plane of codes, low ones first."""
        return (8,) if self.bits == 8 else tuple(b for b in (4, 2, 1) if self.bits & b)

    @property
    def header_bytes(self) -> int:
        """Of a span, padded."""
        a_group = (2 if self.has_min else 1) * LANES * self.scale_bytes
        above = (2 if self.has_min else 1) * LANES * self.outer_bytes if self.scale_bytes == 1 else 0
        used = above + self.span * PANEL // self.group * a_group
        return -(-used // VECTOR_BYTES) * VECTOR_BYTES

    @property
    def panel_bytes(self) -> int:
        """Codes of one panel."""
        return LANES * PANEL * self.bits // 8

    @property
    def span_bytes(self) -> int:
        return self.header_bytes + self.span * self.panel_bytes

    def panels(self, k: int) -> int:
        return -(-k // (PANEL * self.span)) * self.span

    def tile_bytes(self, k: int) -> int:
        """Bytes of 16 rows of `k` elements."""
        if self.element == "code":
            return self.panels(k) // self.span * self.span_bytes
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
    twice = scaled_twice(form) is not None
    factors = [factor for factor in (form.scale, form.min) if factor]
    halves = all(set(f.fields) <= stored and not f.code and not f.negated for f in factors)
    scale_bytes = 1 if twice else 2 if halves else 4
    bits = sum(plane.bits for plane in form.codes["q"].planes)
    table = tuple(value + 128 for value in form.table)
    zero = -128 if table else form.zero
    span = form.block // PANEL if twice else 1
    assert form.group >= 16 and bits in range(1, 9), (
        f"{form.name}: groups of {form.group}, {bits} bits do not fit a tile"
    )
    group, outer_bytes = min(form.group, WIDEST_GROUP), _outer_bytes(form)
    return TileLayout(
        "code", 8 if bits == 7 else bits, group, scale_bytes, bool(form.min), zero, table, span, outer_bytes
    )


def scaled_twice(form: BlockFormat) -> tuple[list[str], list[str]] | None:
    """([d, dmin], [sc, m]) where scale = d * sc and min = -(dmin * m), d and dmin fields; dmin and m only with a min."""
    factors = [factor for factor in (form.scale, form.min) if factor]
    coded = all(f.code and not form.codes[f.code].power for f in factors) and (not form.min or form.min.negated)
    if not coded or form.block % PANEL:
        return None
    return [f.fields[0] for f in factors], [f.code for f in factors]


def _outer_bytes(form: BlockFormat) -> int:
    """Of the numbers of a format that scales twice; f16 unless one of them is wider."""
    names = scaled_twice(form)
    return 4 if names and any(f.dtype != "f16" for f in form.fields if f.name in names[0]) else 2


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
            part = np.ascontiguousarray(matrix[start : start + step])
            place = target[start // LANES : (start + len(part) + LANES - 1) // LANES]
            if layout.element == "code":
                spans = place.reshape(len(place), -1, layout.span_bytes)
                _put_header(layout, form, part, spans[:, :, : layout.header_bytes])
                _put_codes(layout, form.decompose(part).codes, spans[:, :, layout.header_bytes :])
            else:
                _put_floats(part.view(np.uint32 if layout.element == "f32" else np.uint16), place)
    return out


def _put_floats(part: np.ndarray, place: np.ndarray) -> None:
    """Bits [rows, K] -> place, uint8 [tiles, K * 16 * size]."""
    k = part.shape[1]
    bits = _padded(part, len(place), k)
    place.view(part.dtype)[:] = bits.reshape(len(place), LANES, k).transpose(0, 2, 1).reshape(len(place), -1)


def _put_header(layout: TileLayout, form: BlockFormat, part: np.ndarray, place: np.ndarray) -> None:
    """Blocks [rows, row_bytes] -> place, uint8 [tiles, spans, header_bytes]."""
    groups = layout.span * PANEL // layout.group
    if layout.scale_bytes == 1:
        names, numbers = scaled_twice(form), form.constants(part)
        outer = np.float16 if layout.outer_bytes == 2 else np.float32
        fields = [(numbers[name], outer, 1) for name in names[0]]
        fields += [(numbers[name], np.int8, groups) for name in names[1]]
    else:
        made = form.decompose(part)
        dtype = np.float16 if layout.scale_bytes == 2 else np.float32
        repeats = form.group // layout.group
        fields = [
            (np.repeat(values, repeats, axis=-1), dtype, groups)
            for values in (made.scale, made.min)
            if values is not None
        ]
    count, spans = place.shape[:2]
    at = 0
    for values, dtype, each in fields:
        by_lane = (
            _padded(values.astype(dtype), count, spans * each).reshape(count, LANES, spans, each).transpose(0, 2, 3, 1)
        )
        nbytes = each * LANES * by_lane.itemsize
        place[:, :, at : at + nbytes] = np.ascontiguousarray(by_lane).view(np.uint8).reshape(count, spans, nbytes)
        at += nbytes


def _put_codes(layout: TileLayout, codes: np.ndarray, place: np.ndarray) -> None:
    """Codes u8 [rows, K] -> place, uint8 [tiles, spans, span * panel_bytes]."""
    count, spans = place.shape[:2]
    codes = _padded(codes, count, spans * layout.span * PANEL)
    if layout.bits < 8:
        quads = codes.reshape(len(codes), -1, 8, QUAD)  # by half panels
        planes, shift = [], 0
        for bits in layout.planes:
            planes.append(_plane(quads, bits, shift))
            shift += bits
        codes = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
    vectors = np.ascontiguousarray(codes).reshape(len(codes), -1).view(np.uint32).reshape(count, LANES, spans, -1)
    place[:] = np.ascontiguousarray(vectors.transpose(0, 2, 3, 1)).view(np.uint8).reshape(place.shape)


def _plane(quads: np.ndarray, bits: int, shift: int) -> np.ndarray:
    """Bits shift … shift + bits - 1 of u8 [rows, halves, 8, 4], those of 8 / bits quads in one: u8 [rows, halves, bits, 4]."""
    together = 8 // bits
    some = quads.reshape(*quads.shape[:2], bits, together, QUAD)
    mask = np.uint8(2**bits - 1)
    out = some[:, :, :, 0] >> np.uint8(shift) & mask
    for i in range(1, together):
        out |= (some[:, :, :, i] >> np.uint8(shift) & mask) << np.uint8(i * bits)
    return out


def _padded(values: np.ndarray, count: int, columns: int) -> np.ndarray:
    """[rows, c] -> [count * 16, columns], zeros after both ends."""
    if values.shape == (count * LANES, columns):
        return values
    out = np.zeros((count * LANES, columns), values.dtype)
    out[: len(values), : values.shape[1]] = values
    return out

"""What kernels know of a KV format: how an element is read, how a row is written, and what must be reduced before."""

from __future__ import annotations

import numpy as np

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class KvStat:
    """A reduction ("sum" or "max") over a group: of `element` (C, of x), then `finish` (C, of r)."""

    reduce: str
    element: str
    finish: str


@dataclass(frozen=True)
class KvNarrow:
    """Elements of a row as CPUs multiply them: numbers of `bytes` bytes, times what their group of a row shares.

    wide: f32x16 in C, of 16 elements that lie side by side at `p`, without their group's scale.
    place: where element d, a multiple of 16, lies in its row (C); "": codes of fewer bits, which become bytes first.
    scale: where that of group g lies in its row (C), an f16 or an f32; "": none."""

    bytes: int
    wide: str
    place: str
    scale: str
    is_scale_half: bool = False


@dataclass(frozen=True)
class KvRow:
    """A row is written unit by unit, after the reductions `stats` over its group.

    reader: C source of `float hfc_kv_<name>_at(const uint8_t* row, int d)`; of rotated keys also `hfc_kv_<name>_rotate_pair(d, x, pair)`,
    element d of a rotated vector from x[d] and x[d ^ 1].
    writer: of `void hfc_kv_<name>_put(uint8_t* row, int d, float x)`; with units, of `..._put(row, group, j, x0, x1, …, s0, s1, …)`.
    unit: the elements (C, of j) that one store packs; () where each is stored for itself.
    sixteen: f32x16 in C, elements part … part + 15 of the block at `block`, for CPUs; bit for bit the reader's. "": none.
    narrow: None where CPUs expand every row."""

    reader: str
    writer: str
    unit: tuple[str, ...] = ()
    stats: tuple[KvStat, ...] = ()
    sixteen: str = ""
    narrow: KvNarrow | None = None


def c_number(value: float) -> str:
    """A C float literal that reads back as the same f32."""
    return f"{np.float32(value):.9g}f" if np.float32(value) % 1 else f"{value:.1f}f"

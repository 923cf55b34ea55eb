"""How a bound region is cut into thread blocks: grid, block and the numbers that its template unrolls by. One file a family."""

from __future__ import annotations

from collections.abc import Callable

from hfc.backend.geometry.attend import attend
from hfc.backend.geometry.library import ROWS as LIBRARY_ROWS
from hfc.backend.geometry.library import by_library
from hfc.backend.geometry.linear import linear
from hfc.backend.geometry.recurrent import conv, delta
from hfc.backend.geometry.rows import adopt, map_, route, sample, select, top
from hfc.backend.geometry.shape import Geometry, LibraryCall, Scratch
from hfc.backend.spec import Bound
from hfc.target.arch import Arch

__all__ = ["LIBRARY_ROWS", "ROWS_CLASSES", "Geometry", "LibraryCall", "Scratch", "by_library", "geometry"]

ROWS_CLASSES = ("decode", "prefill")  # few rows: weights are read once a row; many: once a tile of rows

_STEMS: dict[str, Callable[[Bound, Arch, str], tuple[Geometry, ...]]] = {
    "linear": linear,
    "map": map_,
    "attend": attend,
    "delta": delta,
    "route": route,
    "conv": conv,
    "sample": sample,
    "adopt": adopt,
    "top": top,
    "select": select,
}


def geometry(bound: Bound, arch: Arch, rows_class: str) -> tuple[Geometry, ...]:
    """The launches of `bound` on `arch`, in order. rows_class: "decode" or "prefill"; most regions are the same in both."""
    assert rows_class in ROWS_CLASSES, rows_class
    return _STEMS[bound.stem](bound, arch, rows_class)

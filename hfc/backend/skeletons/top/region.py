"""The largest elements of a row."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class TopRegion(KernelRegion):
    """top: how many of `size`.  x: C expression in row, j.  ids: where they stand.  values: the elements themselves, if wanted."""

    size: int
    top: int
    x: str
    ids: Arg
    values: Arg | None

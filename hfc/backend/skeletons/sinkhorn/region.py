"""Matrices made doubly stochastic."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class SinkhornRegion(KernelRegion):
    """size: rows of the matrix of a row.  x: C expression in row, g = its row and j = its column.  rounds, eps: as in the op."""

    size: int
    rounds: int
    eps: float
    x: str
    out: Arg

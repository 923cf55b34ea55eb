"""The choice of experts."""

from __future__ import annotations

from dataclasses import dataclass

from hfc.backend.spec import Arg, KernelRegion


@dataclass(frozen=True)
class RouteRegion(KernelRegion):
    """top: experts chosen of `experts`.  normalize: their weights add up to 1.  logits: C expression in row, j."""

    experts: int
    top: int
    normalize: bool
    logits: str
    weights: Arg
    ids: Arg

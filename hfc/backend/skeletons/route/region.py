"""The choice of experts."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class RouteRegion(KernelRegion):
    """top: experts chosen of `experts`.  score, groups, top_groups, group_best, normalize, scale, eps, jitter: as in the op.

    logits, bias: C expressions in row, j; bias is empty without one.  by_logits: the order of the scores is that of the logits."""

    experts: int
    top: int
    logits: str
    weights: Arg
    ids: Arg
    normalize: bool = True
    score: str = "softmax"
    bias: str = ""
    by_logits: bool = True
    groups: int = 1
    top_groups: int = 1
    group_best: int = 1
    scale: float = 1.0
    eps: float = 0.0
    jitter: float = 0.0

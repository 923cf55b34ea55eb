"""Entries made of runs of tokens."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class PoolRegion(KernelRegion):
    """size: channels of an entry.  runs: of tokens that it is made of, of `every` tokens each.  ring_rows: of the ring `kept`, in which they lie.
    value, gate: C expressions in row and j, of runs * size channels.  store: C statement in row, j and the result y."""

    size: int
    runs: int
    every: int
    ring_rows: int
    value: str
    gate: str
    bias: Arg
    kept: Arg
    store: str

"""The choice of positions that attention reads."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.formats.kv_format import KvFormat


@dataclass(frozen=True)
class ChooseRegion(KernelRegion):
    """heads, size: of a row's queries.  top: positions chosen.  every: one position of so many has a place in the cache, of which a slot has `capacity`.
    q: C expression in row, g = head and j; weight: in row and g.  k: the cache.  walsh: elements of q that are rotated together; 0: none."""

    heads: int
    size: int
    top: int
    every: int
    capacity: int
    q: str
    weight: str
    k: Arg
    k_format: KvFormat
    walsh: int
    ids: Arg

    @property
    def kv_formats(self) -> tuple[KvFormat, ...]:
        return (self.k_format,)

    @property
    def kv_head_size(self) -> int:
        return self.size

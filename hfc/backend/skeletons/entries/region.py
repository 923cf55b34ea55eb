"""Attention over few positions of two caches."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.formats.kv_format import KvFormat


@dataclass(frozen=True)
class CacheRead:
    """A cache as queries read it. places: of a slot.  q: C expression in row, g = head and j.  walsh: elements of q that are rotated together; 0: none."""

    k: Arg
    v: Arg
    places: int
    k_format: KvFormat
    v_format: KvFormat
    q: str
    walsh: int


@dataclass(frozen=True)
class EntriesRegion(KernelRegion):
    """size: elements of a head.  near: the cache of the last `window` positions, None without a window.  entries: the cache
    with a place for the last of each `every` positions, of which a row reads all, or those of its `top` positions in `chosen`.  sink: as in AttendRegion.  store: C statement in row,
    g = head, j and y."""

    heads: int
    kv_heads: int
    size: int
    scale: float
    window: int
    every: int
    top: int
    near: CacheRead | None
    entries: CacheRead
    chosen: str
    sink: str
    store: str

    @property
    def kv_formats(self) -> tuple[KvFormat, ...]:
        reads = (self.entries, *([self.near] if self.near else []))
        return tuple({form.name: form for read in reads for form in (read.k_format, read.v_format)}.values())

    @property
    def kv_head_size(self) -> int:
        return self.size

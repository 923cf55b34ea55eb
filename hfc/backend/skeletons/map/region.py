"""Vector programs of one row: embedding, norms, RoPE, writes into the KV cache, sums over experts."""

from __future__ import annotations

from hfc.backend.spec import KernelRegion, Stat
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.formats.kv_format import KvFormat


@dataclass(frozen=True)
class Task:
    """A row-local vector program: for each row and group g < groups: stats, then `store` for each j < size.

    store: C statement(s) in row, g, j and the stats, e.g. "out[row * 576 + g * 64 + j] = x[...] * stat0;"
    mixed: C expression of element j of a vector of `mixed_size`, made after `stats`; every `walsh` elements of it are rotated
    (hfc/formats/rotation.py). What follows reads it as mixed[d].  late: more reductions, which come after it.
    """

    groups: int
    size: int
    stats: tuple[Stat, ...]
    store: str
    mixed: str = ""
    mixed_size: int = 0
    walsh: int = 0
    late: tuple[Stat, ...] = ()


@dataclass(frozen=True)
class MapRegion(KernelRegion):
    """tables: formats of weight tables that expressions read by rows, through hfc_<format>_at(block, i).  caches: KV formats written.
    reads_peers: some operands lie in the memory of other cards.  meeting: the argument by which a kernel waits for them itself; "": they
    are there."""

    tasks: tuple[Task, ...]
    tables: tuple[BlockFormat, ...] = ()
    caches: tuple[KvFormat, ...] = ()
    reads_peers: bool = False
    meeting: str = ""

    @property
    def kv_formats(self) -> tuple[KvFormat, ...]:
        return self.caches

    @property
    def gated_formats(self) -> tuple[str, ...]:
        return tuple(form.name for form in self.caches)

"""One candidate a row, each judged with the one chosen for the row before."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat


@dataclass(frozen=True)
class SelectRegion(KernelRegion):
    """top: candidates of a row.  rank: products of each pair.  C expressions: scores, candidates (in row, c), query (in row, r),
    before (in last, r), after (in id, r), tokens (in row).
    tables: formats of what before and after read by rows."""

    top: int
    rank: int
    scores: str
    candidates: str
    query: str
    before: str
    after: str
    tokens: str
    chosen: Arg
    tables: tuple[BlockFormat, ...]

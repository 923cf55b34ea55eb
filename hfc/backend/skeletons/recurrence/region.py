"""A linear recurrence region: operands as expressions, states in place, what follows each head's output."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion, Stat
from hfc.base.dataclass import dataclass
from hfc.target.state_block import columns_of_block


@dataclass(frozen=True)
class RowVector:
    """value: C expression in row, g=head, j=element, after its stats."""

    stats: tuple[Stat, ...]
    value: str


@dataclass(frozen=True)
class RecurrenceRegion(KernelRegion):
    """dk, dv: elements of a key head and a value head.  decays: of a head, 1 or dk.  delta: v is corrected by what the state holds for k.
    tiled: value head g reads key head g % k_heads, else g / (v_heads / k_heads).  q, k: of key head g; v, decay (its logarithm),
    beta: of value head g.  stats, store: C statement in row, g=value head, j and the head's output vector y[j].
    journal: rows that wait to be committed, [slots, v_heads, journal_rows, k | v | decay | beta] where a block carries a whole head;
    0 and None: the plan has none."""

    k_heads: int
    v_heads: int
    dk: int
    dv: int
    decays: int
    delta: bool
    tiled: bool
    q: RowVector
    k: RowVector
    v: RowVector
    decay: RowVector
    beta: RowVector
    memory: Arg
    stats: tuple[Stat, ...]
    store: str
    journal_rows: int
    journal: Arg | None

    @property
    def columns(self) -> int:
        """Of a head's state that a block carries."""
        return columns_of_block(self.dk, self.dv)

    @property
    def column_blocks(self) -> int:
        return -(-self.dv // self.columns)

    @property
    def waiting(self) -> int:
        """Numbers that the journal keeps of a row for a block; each has its own k, so that none waits for another to have read it."""
        return self.dk + self.columns + self.decays + 1

    @property
    def journals(self) -> tuple[tuple[Arg, int], ...]:
        return ((self.journal, self.v_heads * self.column_blocks * self.waiting),) if self.journal else ()

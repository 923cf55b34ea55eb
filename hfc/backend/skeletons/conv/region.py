"""A convolution that stands alone."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class ConvRegion(KernelRegion):
    """u: C expression of the input in row, j=channel.  conv: weights.  window: state.  store: C statement in row, j and the result c.
    journal_rows: rows of a slot that wait to be committed, in inputs_journal [slots, rows, channels]; 0 and None: no journal."""

    channels: int
    taps: int
    u: str
    conv: Arg
    window: Arg
    store: str
    journal_rows: int
    inputs_journal: Arg | None

    @property
    def journals(self) -> tuple[tuple[Arg, int], ...]:
        return ((self.inputs_journal, self.channels),) if self.inputs_journal else ()

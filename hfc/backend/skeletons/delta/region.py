"""A gated delta region: from the convolution's input to the gated norm of a DeltaNet layer."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion, Stat
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class Journal:
    """Where rows wait to be committed. inputs: [slots, rows, channels], the convolution's.  gates: [slots, rows, 2, v_heads], the
    decay e^g and beta that each head had."""

    rows: int
    slots: int
    inputs: Arg
    gates: Arg


@dataclass(frozen=True)
class DeltaRegion(KernelRegion):
    """dk, dv: elements of a key head and a value head.  tiled: value head g reads key head g % k_heads, else g / (v_heads / k_heads).
    u: C expression of the convolution's input in row, j=channel.  conv: its weights.  activate: C expression of its result c.
    eps: of the L2 norms of q and k.  q_scale: of q.  decay, beta: C expressions in row, g=value head.  window, memory: states.
    q0, k0, v0: first channels of q, k and v.  stats, store: C statement in row, g=value head, j and the head's output vector y[j].
    gate_reads, store_reads: what decay and beta, and store, read of memory, as it stands in them.  journal: None where the plan has none."""

    k_heads: int
    v_heads: int
    dk: int
    dv: int
    taps: int
    channels: int
    tiled: bool
    u: str
    conv: Arg
    activate: str
    eps: float
    q_scale: float
    decay: str
    beta: str
    window: Arg
    memory: Arg
    q0: int
    k0: int
    v0: int
    stats: tuple[Stat, ...]
    store: str
    journal: Journal | None
    gate_reads: tuple[str, ...] = ()
    store_reads: tuple[str, ...] = ()

    @property
    def journals(self) -> tuple[tuple[Arg, int], ...]:
        return ((self.journal.inputs, self.channels), (self.journal.gates, 2 * self.v_heads)) if self.journal else ()

"""An attention region: queries of a step over the keys and values of their slots."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.formats.kv_format import KvFormat


@dataclass(frozen=True)
class AttendRegion(KernelRegion):
    """size: elements of a head.  capacity: tokens that a slot holds.  window, softcap: 0 for none.  causal: else a row sees its whole
    segment.  first: a row at p sees no s < min(first, p).  q: C expression in row, g=head, j.  walsh: elements of q that are rotated
    together; 0: none.  k, v: state planes.  store: C statement in row, g=head, j and y.
    store_reads: what it reads of memory, as it stands there.
    sink: C expression in g=head of the logit that takes part in the softmax and has no value; empty: none does.
    slope: C expression in g=head of what a key loses for each position between it and the query; empty: nothing.
    rounds: dequantized keys and values may be rounded to f16 (profiles "fast", "turbo")."""

    heads: int
    kv_heads: int
    size: int
    capacity: int
    scale: float
    window: int
    softcap: float
    causal: bool
    first: int
    q: str
    walsh: int
    k: Arg
    v: Arg
    k_format: KvFormat
    v_format: KvFormat
    store: str
    store_reads: tuple[str, ...] = ()
    sink: str = ""
    slope: str = ""
    rounds: bool = False

    @property
    def kv_formats(self) -> tuple[KvFormat, ...]:
        return tuple(dict.fromkeys((self.k_format, self.v_format)))

    @property
    def kv_head_size(self) -> int:
        return self.size

    @property
    def group(self) -> int:
        """Query heads that share a KV head."""
        return self.heads // self.kv_heads

    @property
    def plain_f16(self) -> bool:
        """Keys and values are f16 as they lie."""
        return self.k_format.scalar == self.v_format.scalar == "f16"

    @property
    def exact(self) -> bool:
        """A cache in f32 keeps its precision without matrix units."""
        return "f32" in (self.k_format.scalar, self.v_format.scalar)

    @property
    def coded(self) -> bool:
        """Keys lie rotated, as levels of a table or in steps."""
        return bool(self.k_format.rotates_pairs or self.k_format.walsh)

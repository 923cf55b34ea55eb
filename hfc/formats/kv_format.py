"""KvFormat: how one head's vector lies in the KV cache."""

from __future__ import annotations

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.formats.dtype import SCALARS


@dataclass(frozen=True, eq=False)
class KvFormat:
    """A row is one key or value vector of `head` elements; here every element is a `scalar` (f32, f16)."""

    name: str
    scalar: str
    rotates_pairs: bool = False  # keys lie rotated, see KvRotated; likewise walsh
    walsh: int = 0
    default_v: str = ""  # what values lie in, where that is another format
    blocks = None  # the BlockFormat of a row's blocks, see KvBlocks
    code_levels = ()  # what a row's codes stand for, times its norm, see KvRotated

    def sized(self, head: int) -> KvFormat:
        """The format for heads of this size."""
        return self

    def __repr__(self) -> str:
        return f"<KV format {self.name}>"

    def group(self, head: int) -> int:
        """Elements that lie together: all of a head, or one block."""
        return head

    def row_bytes(self, head: int) -> int:
        return head * SCALARS[self.scalar].itemsize

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., row_bytes(head)] -> f32 [..., head]"""
        return SCALARS[self.scalar].unpack(raw)

    stored = unpack  # as kernels read it

    def pack(self, x: np.ndarray) -> np.ndarray:
        """f32 [..., head] -> uint8 [..., row_bytes(head)]"""
        return SCALARS[self.scalar].pack(np.asarray(x, np.float32))

"""RowFormat: a format of files whose rows begin with a header of their own. Kernels see it as blocks, into which it is made when loaded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats.block import BlockFormat, cannot_quantize


@dataclass(frozen=True, eq=False)
class RowFormat:
    """blocks: the format that weights have in memory, with the same values.  header_bytes, group_bytes: of a row, and of each
    `group` of its elements.  encode: f32 [rows, K] -> uint8 [rows, row_bytes], None where hfc cannot.  to_blocks: uint8 [rows, row_bytes] -> bytes of
    `blocks`; HfcError where a header is not what the format allows."""

    name: str
    blocks: BlockFormat
    header_bytes: int
    group: int
    group_bytes: int
    encode: Callable[[np.ndarray], np.ndarray] | None
    to_blocks: Callable[[np.ndarray], np.ndarray]

    quantized = True
    gguf_type = None
    safetensors_dtype = None

    def __repr__(self) -> str:
        return f"<format {self.name}>"

    @property
    def block(self) -> int:
        """Rows must be multiples of it."""
        return self.blocks.block

    @property
    def rotated(self) -> bool:
        return self.blocks.rotated

    @property
    def bits_per_weight(self) -> float:
        """Without the header of a row."""
        return 8 * self.group_bytes / self.group

    def row_bytes(self, k: int) -> int:
        self.blocks.row_bytes(k)
        return self.header_bytes + k // self.group * self.group_bytes

    def columns(self, row_bytes: int) -> int:
        """Elements of a row of `row_bytes` bytes."""
        groups, rest = divmod(row_bytes - self.header_bytes, self.group_bytes)
        if rest or groups <= 0 or groups * self.group % self.block:
            raise HfcError(f"{self.name}: a row of {row_bytes} bytes has no whole number of blocks of {self.block}")
        return groups * self.group

    def loaded(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., row_bytes] -> uint8 [..., row bytes of `blocks`]"""
        self.columns(raw.shape[-1])
        made = self.to_blocks(raw.reshape(-1, raw.shape[-1]))
        return made.reshape(*raw.shape[:-1], -1)

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., row_bytes(K)] -> f32 [..., K]"""
        return self.blocks.unpack(self.loaded(raw))

    def pack(self, x: np.ndarray) -> np.ndarray:
        """f32 [..., K] -> uint8 [..., row_bytes(K)]"""
        x = np.asarray(x, np.float32)
        row_bytes = self.row_bytes(x.shape[-1])
        if self.encode is None:
            raise cannot_quantize(self.name)
        return self.encode(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], row_bytes)

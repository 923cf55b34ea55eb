"""Quantized rows of the KV cache: blocks of one head's vector with a scale (q8, q4), or codes of its rotated direction (asym)."""

from __future__ import annotations

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats.block import BlockFormat
from hfc.formats.rotation import rotate, rotate_back


@dataclass(frozen=True, eq=False)
class KvBlocks:
    """Blocks of `block` elements in a BlockFormat; every block of a row is a group."""

    name: str
    form: BlockFormat
    scalar: str = ""
    rotates_pairs: bool = False
    walsh: int = 0
    default_v: str = ""
    code_levels = ()

    def __repr__(self) -> str:
        return f"<KV format {self.name}>"

    @property
    def blocks(self) -> BlockFormat:
        return self.form

    def sized(self, head: int) -> KvBlocks:
        """The format for heads of this size."""
        self.row_bytes(head)
        return self

    def group(self, head: int) -> int:
        return self.form.block

    def row_bytes(self, head: int) -> int:
        if head % self.form.block:
            raise HfcError(
                f"KV format {self.name}: heads of {head} are no multiple of {self.form.block}", hint="--kv f16"
            )
        return self.form.row_bytes(head)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """f32 [..., head] -> uint8 [..., row_bytes(head)]"""
        self.row_bytes(x.shape[-1])
        return self.form.pack(x)

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """uint8 [..., row_bytes(head)] -> f32 [..., head]"""
        return self.form.unpack(raw)

    stored = unpack


LEVELS = {  # positive halves, Lloyd-Max levels of a normal distribution with variance 1/128 (turbo_common.h of hipfire)
    2: (0.040022, 0.133466),
    3: (0.021462, 0.065717, 0.117832, 0.190721),  # published for 1/256; √2 times that
    4: (0.011225, 0.034295, 0.057983, 0.083262, 0.111016, 0.143012, 0.182875, 0.241565),
}
SEED, MODULUS, MOST_PAIRS = 42, 0x7FFFFFFF, 256
CODES_OF_UNIT = {2: 4, 3: 8, 4: 2}  # whole bytes
# Levels are tried at these sizes for every key, and the one with the least error is taken: where a few elements are large, levels for a
# normal distribution clip them. Divergence of attention on keys of a small Qwen 3.5, before -> with: asym4 0.046 -> 0.018, asym3 0.082 ->
# 0.050, asym2 0.172 -> 0.154, fwht4 0.0052 -> 0.0041, fwht3 0.0149 -> 0.0146; twice as many sizes gain a tenth more.
SIZES = np.array([0.9, 1.1, 1.4, 1.9], np.float32)


def angles(pairs: int) -> np.ndarray:
    """The angle of each pair's rotation, f64 [pairs]: a 31-bit linear congruential generator over the full turn."""
    state, found = SEED, []
    for _ in range(pairs):
        state = (state * 1103515245 + 12345) & MODULUS
        found.append(state / MODULUS * 2 * np.pi)
    return np.array(found)


@dataclass(frozen=True, eq=False)
class KvRotated:
    """Keys as f32 norm and codes of `bits` of their direction after a rotation: of each pair of neighbours by a fixed angle
    (Givens, "asym"), or by signs and Walsh-Hadamard over up to 128 elements, 256 for 3 bits ("fwht").

    Queries are rotated alike when they are loaded, so products stay what they are. Levels have the variance of a unit
    vector's elements: 1 / head (the public implementation takes 1 / 128 for every head in 4 and 2 bits)."""

    name: str
    bits: int
    head: int = 0  # 0: not known yet
    mixes: bool = False  # Walsh-Hadamard instead of Givens
    scalar: str = ""
    default_v: str = "q8"
    blocks = None

    def __repr__(self) -> str:
        return f"<KV format {self.name}>"

    def sized(self, head: int) -> KvRotated:
        self.row_bytes(head)
        return KvRotated(self.name, self.bits, head, self.mixes)

    @property
    def rotates_pairs(self) -> bool:
        """Whether keys and queries are rotated by pairs where they are loaded."""
        return not self.mixes

    @property
    def walsh(self) -> int:
        """Elements that are mixed together; 0: none."""
        return self._mixed(self.head) if self.mixes else 0

    def _mixed(self, head: int) -> int:
        return min(head & -head, 256 if self.bits == 3 else 128)

    def group(self, head: int) -> int:
        return head

    def row_bytes(self, head: int) -> int:
        if head % 16 or head > 2 * MOST_PAIRS:
            raise HfcError(
                f"KV format {self.name}: heads of {head} are no multiple of 16 up to {2 * MOST_PAIRS}",
                hint="--kv q8 or f16",
            )
        return 4 + head * self.bits // 8

    def levels(self, head: int) -> np.ndarray:
        """All levels, f32 [2**bits], rising."""
        half = np.array(LEVELS[self.bits]) * np.sqrt(128 / head)
        return np.concatenate([-half[::-1], half]).astype(np.float32)

    @property
    def code_levels(self) -> tuple[float, ...]:
        """What a code stands for, times the row's norm: f32 numbers, for heads of the known size."""
        return tuple(map(float, self.levels(self.head)))

    def rotate(self, x: np.ndarray, back: bool = False) -> np.ndarray:
        """The rotation of the last axis, or its inverse."""
        if self.mixes:
            return (rotate_back if back else rotate)(np.ascontiguousarray(x, np.float32), self._mixed(x.shape[-1]))
        angle = angles(x.shape[-1] // 2)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32) * (-1 if back else 1)
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape).astype(np.float32)

    def pack(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float32)
        head = x.shape[-1]
        levels = self.levels(head)
        rotated = self.rotate(x).reshape(-1, head)
        square = (rotated * rotated).sum(axis=1, keepdims=True)
        codes = self._best_codes(rotated / np.sqrt(np.where(square > 0, square, 1)), levels)
        norm = np.sqrt(square / (levels[codes] ** 2).sum(axis=1, keepdims=True)).astype(np.float32)
        per = CODES_OF_UNIT[self.bits]
        units = codes.reshape(len(codes), -1, per).astype(np.uint32)
        words = (units << (np.arange(per, dtype=np.uint32) * self.bits)).sum(axis=2, dtype=np.uint32)
        packed = np.ascontiguousarray(words).view(np.uint8).reshape(*words.shape, 4)[:, :, : per * self.bits // 8]
        return np.concatenate([norm.view(np.uint8), packed.reshape(len(codes), -1)], axis=1).reshape(*x.shape[:-1], -1)

    @staticmethod
    def _best_codes(unit: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """unit: f32 [n, head], vectors of length 1 -> codes of the levels at the size of SIZES that suits each best."""
        middles = (levels[1:] + levels[:-1]) / 2
        least, found = np.full((len(unit), 1), np.inf, np.float32), np.zeros(unit.shape, np.intp)
        for size in SIZES:
            codes = np.searchsorted(middles, unit * (1 / size))
            error = ((unit - levels[codes] * size) ** 2).sum(axis=1, keepdims=True)
            np.copyto(found, codes, where=error < least)
            least = np.minimum(error, least)
        return found

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        return self.rotate(self.stored(raw), back=True)

    def stored(self, raw: np.ndarray) -> np.ndarray:
        """Rotated values, as kernels read them."""
        rows = np.ascontiguousarray(raw).reshape(-1, raw.shape[-1])
        head = (raw.shape[-1] - 4) * 8 // self.bits
        bits = np.unpackbits(rows[:, 4:], axis=1, bitorder="little").reshape(len(rows), head, self.bits)
        codes = (bits << np.arange(self.bits, dtype=np.uint8)).sum(axis=2)
        values = self.levels(head)[codes] * np.ascontiguousarray(rows[:, :4]).view(np.float32)
        return values.reshape(*raw.shape[:-1], head)

"""A weight that stays packed and is unpacked piece by piece, so that a test needs no second, larger copy of it."""

from __future__ import annotations

import numpy as np

from hfc.formats.block import BlockFormat

PIECE = 1 << 24  # elements unpacked at a time
SMALL = 1 << 20  # elements; smaller weights are plain arrays


class PackedWeight:
    """Stands where an op reads a weight of f32 [..., K]: `w[rows]`, and `x @ w.T` for a matrix. raw: uint8 [..., row_bytes]."""

    __array_ufunc__ = None  # numpy leaves x @ w.T to __rmatmul__

    def __init__(self, form: BlockFormat, raw: np.ndarray, shape: tuple[int, ...]):
        self._form, self._raw, self.shape, self.ndim = form, raw, shape, len(shape)

    def __getitem__(self, rows) -> np.ndarray:
        return self._form.unpack(np.ascontiguousarray(self._raw[rows])).astype(np.float32)

    @property
    def T(self) -> "PackedWeight":
        return self  # only __rmatmul__ asks for it

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        """x [..., K] times the transpose: [..., N]"""
        count = max(1, PIECE // self.shape[-1])
        pieces = [x @ self[at : at + count].T for at in range(0, self.shape[0], count)]
        return np.concatenate(pieces, axis=-1)


def readable(form: BlockFormat, raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | PackedWeight:
    """The weight as ops read it."""
    if np.prod(shape) <= SMALL:
        return np.asarray(form.unpack(raw), np.float32).reshape(shape)
    return PackedWeight(form, raw, shape)

"""Weights as other programs quantized them -> their values: codes in words, scales of groups, rows, blocks or the whole tensor.

Sources: safetensors written by transformers (FP8), llm-compressor (compressed-tensors 0.20), AutoGPTQ / GPTQModel, AutoAWQ and
ModelOpt. Shapes: a weight is [..., n, k]; its scales have one number for each block of rows and columns.
"""

from __future__ import annotations

import numpy as np

from hfc.formats.grid import nibbles

AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)  # of eight neighbours, in the order of a word's nibbles


def _e4m3() -> np.ndarray:
    """f32 [256]: sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, all ones are NaN."""
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    values = np.where(exponent > 0, np.ldexp(1 + mantissa / 8, exponent - 7), np.ldexp(mantissa / 8, -6))
    values[codes & 127 == 127] = np.nan
    return np.where(codes & 128, -values, values).astype(np.float32)


E4M3 = _e4m3()


def dense_codes(words: np.ndarray, bits: int) -> np.ndarray:
    """i32 [..., w] -> u8 [..., 32 w // bits]: codes of `bits` bits, the first in the lowest bits; some lie across two words."""
    stored = np.ascontiguousarray(words, "<i4").view(np.uint8)
    if bits == 8:
        return stored
    if bits == 4:
        return nibbles(stored)
    single = np.unpackbits(stored, axis=-1, bitorder="little")
    count = single.shape[-1] // bits
    single = single[..., : count * bits].reshape(*single.shape[:-1], count, bits)
    return (single << np.arange(bits, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)


def awq_codes(words: np.ndarray) -> np.ndarray:
    """i32 [rows, w] -> u8 [rows, 8 w]: nibbles whose columns alternate."""
    nibbles = dense_codes(words, 4).reshape(len(words), -1, 8)
    codes = np.empty_like(nibbles)
    codes[..., AWQ_COLUMNS] = nibbles
    return codes.reshape(len(words), -1)


def spread(scales: np.ndarray, shape: tuple[int, ...], block: tuple[int, int]) -> np.ndarray:
    """One scale for the whole, for each row, for groups of columns or for blocks -> what multiplies a weight of `shape`.

    block: rows and columns that share one, where the counts do not say so themselves. ValueError where they do not fit."""
    if scales.size == 1:
        return scales.reshape(1)
    if scales.ndim == len(shape) - 1:  # one for each row
        scales = scales[..., None]
    for axis, size in zip((-2, -1), block):
        length = shape[axis]
        if scales.shape[axis] not in (1, length):
            _fit(scales.shape[axis], length, size)
            scales = np.repeat(scales, size, axis=axis)
            scales = scales[..., :length, :] if axis == -2 else scales[..., :length]
    return np.broadcast_to(scales, shape)


def of_columns(scales: np.ndarray, columns: int, group: int, group_of: np.ndarray | None) -> np.ndarray:
    """[n, groups], a number for each group of columns -> [n, columns]. group_of: i32 [columns], where columns were quantized in another order."""
    if group_of is not None:
        return scales[..., group_of]
    _fit(scales.shape[-1], columns, group)
    return np.repeat(scales, group, axis=-1)[..., :columns]


def _fit(count: int, length: int, size: int) -> None:
    """ValueError unless `count` groups of `size` are as long as `length`."""
    if size < 1 or count != -(-length // size):
        raise ValueError(f"{count} groups of {size} for {length}")

"""NVFP4: 16 four-bit floats (E2M1) under a scale of eight bits (E4M3), and one for the tensor, as GGUF and safetensors hold them.

    value = scale * {0, 0.5, 1, 1.5, 2, 3, 4, 6}[code & 7], negative where code & 8

In memory a group has one f32, the product of both scales: what a file divides or multiplies by is rounded once, as its values are.
"""

from __future__ import annotations

import numpy as np

from hfc.formats.block import BlockFormat
from hfc.formats.hfp import HALVES
from hfc.formats.layout import Factor, Field, code

GROUP, BLOCK = 16, 32
GGUF_BLOCK, GGUF_BYTES = 64, 36


def nvfp_blocks(name: str) -> BlockFormat:
    """What NVFP4 is in memory: the table holds halves."""
    return BlockFormat(
        name,
        block=BLOCK,
        fields=(Field("d0", "f32"), Field("d1", "f32"), Field("qs", "u8", 16)),
        codes={"q": code("qs", 4, "i / 16 * 8 + i % 8", "i / 8 % 2 * 4")},
        scale=Factor(("d0", "d1"), elements=BLOCK),
        group=GROUP,
        table=(*HALVES, *(-h for h in HALVES)),
    )


def packed(form: BlockFormat, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """u8 [..., k] and f32 [..., k / 16] -> bytes of `form`, u8 [..., row_bytes(k)]"""
    pairs = scale.reshape(-1, 2).astype(np.float32) / 2
    raw = form.assemble({"q": codes.reshape(-1, BLOCK), "d0": pairs[:, 0], "d1": pairs[:, 1]})
    return raw.reshape(*codes.shape[:-1], form.row_bytes(codes.shape[-1]))


def of_gguf(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u8 [..., row_bytes] -> codes u8 [..., k], scales f32 [..., k / 16]. A block: four scales, then 8 bytes for every 16 elements, the
    first eight in the low nibbles."""
    blocks = raw.reshape(-1, GGUF_BYTES)
    nibbles = blocks[:, 4:].reshape(-1, 4, 8)
    codes = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1)
    k = raw.shape[-1] // GGUF_BYTES * GGUF_BLOCK
    return codes.reshape(*raw.shape[:-1], k), GGUF_SCALES[blocks[:, :4]].reshape(*raw.shape[:-1], k // GROUP)


def _gguf_scales() -> np.ndarray:
    """f32 [256]: E4M3 without a sign, whose highest bit says nothing; 127 counts as zero."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    values = np.where(exponent, np.ldexp(1 + mantissa / 8, exponent - 7), np.ldexp(mantissa / 8, -6))
    values[127] = 0
    return values.astype(np.float32)


GGUF_SCALES = _gguf_scales()

"""MXFP4 (OCP microscaling): 32 four-bit floats (E2M1) under one exponent, as GGUF and gpt-oss's safetensors hold them.

    value = 2^(e - 127) * {0, 0.5, 1, 1.5, 2, 3, 4, 6}[code & 7], negative where code & 8

GGUF: u8 e, then 16 bytes of nibbles, element i in the low one of byte i, i + 16 in the high one. safetensors: `*_blocks` [..., K / 32, 16]
with elements 2 i and 2 i + 1 in byte i, and `*_scales` [..., K / 32]. In memory the exponent is the scale that it stands for, a bf16
holds any: groups of 17 bytes would lie at any address.
"""

from __future__ import annotations

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.formats.block import BlockFormat
from hfc.formats.hfp import HALVES, nearest
from hfc.formats.layout import Field, code, stored
from hfc.formats.rows import RowFormat

GROUP, GROUP_BYTES = 32, 17
BIAS, PEAK_EXPONENT = 127, 2  # 6, the largest value, is 1.5 * 2^2


def mxfp_blocks(name: str) -> BlockFormat:
    """What MXFP4 is in memory."""
    return BlockFormat(
        name,
        block=GROUP,
        fields=(Field("d", "bf16"), Field("qs", "u8", 16)),
        codes={"q": code("qs", 4, "i % 16", "i / 16 * 4")},
        scale=stored("d"),
        group=GROUP,
        table=(*HALVES, *(-h for h in HALVES)),
        encode=lambda x: _parts(_encode(x)),
    )


def mxfp(name: str, blocks: BlockFormat) -> RowFormat:
    return RowFormat(
        name,
        blocks,
        header_bytes=0,
        group=GROUP,
        group_bytes=GROUP_BYTES,
        encode=_encode,
        to_blocks=lambda raw: blocks.assemble(_parts(raw)),
    )


def from_pair(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """uint8 [..., n, groups, 16] and [..., n, groups] of safetensors -> GGUF's bytes [..., n, groups * 17]."""
    if blocks.shape != (*scales.shape, GROUP // 2):
        raise HfcError(
            f"mxfp4: blocks are {list(blocks.shape)} and scales {list(scales.shape)}; blocks must be [..., 16]"
        )
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, GROUP)
    packed = codes[..., :16] | codes[..., 16:] << 4
    return np.concatenate([scales[..., None], packed], axis=-1).reshape(*scales.shape[:-1], -1)


def _encode(x: np.ndarray) -> np.ndarray:
    """x [rows, K]: the exponent of a group is that of its peak, less that of 6; codes are the nearest."""
    groups = x.reshape(-1, GROUP)
    peak = abs(groups).max(axis=1)
    _mantissa, exponent = np.frexp(peak)  # peak = m 2^exponent, 0.5 <= m < 1
    e = np.where(peak > 0, np.clip(exponent - 1 - PEAK_EXPONENT + BIAS, 0, 254), 0)
    codes = nearest(np.ldexp(groups, BIAS - e[:, None]))
    out = np.concatenate([e[:, None].astype(np.uint8), codes[:, :16] | codes[:, 16:] << 4], axis=1)
    return out.reshape(len(x), -1)


def _parts(raw: np.ndarray) -> dict[str, np.ndarray]:
    """[rows, row_bytes] -> scales and codes of every group; the table holds halves."""
    groups = raw.reshape(-1, GROUP_BYTES)
    nibbles = groups[:, 1:]
    scale = np.ldexp(np.float32(0.5), groups[:, :1].astype(np.int32) - BIAS)
    return {"d": scale, "q": np.concatenate([nibbles & 15, nibbles >> 4], axis=1)}

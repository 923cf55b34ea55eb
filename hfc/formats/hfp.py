"""HFP4 of hipfire: four-bit floats (E2M1) under an exponent for every 32 and an f16 scale for every row; MFP4 is HFP4, rotated.

    value = row_scale * 2^(e - 127) * {0, 0.5, 1, 1.5, 2, 3, 4, 6}[code & 7], negative where code & 8

A row: f16 row_scale, f16 (unused), u16 K / 32, u8 flags (bit 0 rotated, bit 1 the second scale is used, bits 2-3 which rotation), 9
bytes of zeros; then for every 32 elements u8 e and 16 bytes of nibbles, the even element in the low one. Layout:
https://github.com/warpfront/hipfire, docs/quant-formats/hfp4.md.

In memory 256 elements have their eight exponents, the row's scale and their nibbles in 144 bytes, so that lanes read aligned words:
groups of 17 bytes lie at any address.
"""

from __future__ import annotations

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, code, stored
from hfc.formats.rows import RowFormat

GROUP, BLOCK = 32, 256
HEADER_BYTES, GROUP_BYTES = 16, 17
PEAK = np.float32(6)
HALVES = (0, 1, 2, 3, 4, 6, 8, 12)  # twice the sizes
BIAS, HIGHEST, NOT_A_NUMBER = 127, 254, 255
ROTATED_FLAGS = 0x05  # rotated, by the signed Walsh-Hadamard transform of rotation.py


def hfp_blocks(name: str, rotated: bool = False) -> BlockFormat:
    """What HFP4 rows are in memory; packed on its own, every block has the scale of a row of 256."""
    return BlockFormat(
        name,
        block=BLOCK,
        fields=(Field("e", "u8", 8), Field("d", "f32"), Field("zeros", "u8", 4), Field("qs", "u8", 128)),
        codes={
            "q": code("qs", 4, "i / 32 * 16 + i % 16", "i / 16 % 2 * 4"),
            "p": Code((Plane("e", 8, "i / 32"),), power=True),
        },
        scale=stored("d", times="p"),
        group=GROUP,
        table=(*HALVES, *(-h for h in HALVES)),
        encode=lambda x: _parts(_encode(x, 0)),
        rotated=rotated,
    )


def hfp(name: str, blocks: BlockFormat) -> RowFormat:
    """One format of the family."""
    return RowFormat(
        name,
        blocks,
        header_bytes=HEADER_BYTES,
        group=GROUP,
        group_bytes=GROUP_BYTES,
        encode=lambda x: _encode(x, ROTATED_FLAGS if blocks.rotated else 0),
        to_blocks=lambda raw: _to_blocks(raw, blocks, name),
    )


def _encode(x: np.ndarray, flags: int) -> np.ndarray:
    """x [rows, K]: the row's peak is 6 row_scale; e is the least that keeps its group within 6. Codes are chosen for the rounded scale."""
    rows, k = x.shape
    peak = abs(x).max(axis=1, initial=0)
    scale = (peak / PEAK).astype(np.float16)
    # a peak above 6 would need the next exponent
    scale = np.where(scale * PEAK < peak, np.nextafter(scale, np.float16(np.inf)), scale)
    scale[peak == 0] = 1
    groups = x.reshape(rows, -1, GROUP) / scale.astype(np.float32)[:, None, None]
    mantissa, exponent = np.frexp(abs(groups).max(axis=2) / PEAK)
    e = np.clip(exponent - (mantissa == 0.5) + BIAS, 0, HIGHEST)
    e[mantissa == 0] = 0
    out = np.zeros((rows, HEADER_BYTES + k // GROUP * GROUP_BYTES), np.uint8)
    out[:, :2] = scale.astype("<f2")[:, None].view(np.uint8)
    out[:, 4:6] = np.frombuffer(np.uint16(k // GROUP).tobytes(), np.uint8)
    out[:, 6] = flags
    body = out[:, HEADER_BYTES:].reshape(rows, -1, GROUP_BYTES)
    body[:, :, 0] = e
    codes = nearest(np.ldexp(groups, BIAS - e[:, :, None]))
    body[:, :, 1:] = codes[:, :, 0::2] | codes[:, :, 1::2] << 4
    return out


def nearest(x: np.ndarray) -> np.ndarray:
    """The code of the nearest value, the smaller one of two equally near, u8; zero is never negative."""
    middles = (np.array(HALVES[1:], np.float32) + np.array(HALVES[:-1], np.float32)) / 4
    size = np.searchsorted(middles, abs(x)).astype(np.uint8)
    return size | ((x < 0) & (size > 0)).astype(np.uint8) << np.uint8(3)


def _to_blocks(raw: np.ndarray, blocks: BlockFormat, name: str) -> np.ndarray:
    """raw [rows, row_bytes] -> uint8 [rows * K / 256, 144]"""
    _check(raw, _body(raw), ROTATED_FLAGS if blocks.rotated else 0, name)
    return blocks.assemble(_parts(raw))


def _body(raw: np.ndarray) -> np.ndarray:
    """[rows, K / 32, 17]"""
    return raw[:, HEADER_BYTES:].reshape(len(raw), -1, GROUP_BYTES)


def _parts(raw: np.ndarray) -> dict[str, np.ndarray]:
    """What hfp_blocks is assembled from."""
    body = _body(raw)
    scale = np.ascontiguousarray(raw[:, :2]).view("<f2").astype(np.float32)
    nibbles = body[:, :, 1:]
    codes = np.stack([nibbles & 15, nibbles >> 4], axis=-1).reshape(-1, BLOCK)
    per_row = body.shape[1] * GROUP // BLOCK
    # the table holds halves
    return {"p": body[:, :, 0].reshape(-1, 8), "d": np.repeat(scale / 2, per_row, axis=0), "q": codes}


def _check(raw: np.ndarray, body: np.ndarray, flags: int, name: str) -> None:
    count = np.ascontiguousarray(raw[:, 4:6]).view("<u2")[:, 0]
    scale = np.ascontiguousarray(raw[:, :2]).view("<f2")[:, 0]
    for what, wrong in (
        (f"counts another number of blocks than {body.shape[1]}", count != body.shape[1]),
        (f"has flags other than {flags:#04x}", raw[:, 6] != flags),
        ("has a scale that is not a number", ~np.isfinite(scale)),
        ("has a block that is marked as not a number", (body[:, :, 0] == NOT_A_NUMBER).any(axis=1)),
    ):
        if wrong.any():
            raise HfcError(
                f"{name}: row {int(np.argmax(wrong))} {what}", hint="the file is damaged, or of a newer kind"
            )

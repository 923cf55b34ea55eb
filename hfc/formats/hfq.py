"""The HFQ family of hipfire: 256 unsigned codes of 3, 4 or 6 bits under a header of step (their "scale") and zero; MQ is HFQ, rotated.

    value = step * q + zero         codes are a little-endian stream of bits, so that 4-bit codes are nibbles, low one first

Header: f32 step, f32 zero; in version 2 two pairs of f16, one for each half of the block. Layout:
https://github.com/warpfront/hipfire, crates/hipfire-quantize/src/main.rs and docs/quant-formats/mq4-v2.md.
"""

from __future__ import annotations

import numpy as np

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Factor, Field, Plane
from hfc.formats.search import best_affine

BLOCK = 256
HALF = BLOCK // 2
HEADER = (Field("step", "f32"), Field("zero", "f32"))
HEADER_V2 = (Field("step0", "f16"), Field("zero0", "f16"), Field("step1", "f16"), Field("zero1", "f16"))


def hfq(name: str, bits: int, v2: bool = False, rotated: bool = False, block: int = BLOCK) -> BlockFormat:
    """One format of the family."""
    return BlockFormat(
        name,
        block=block,
        fields=(*(HEADER_V2 if v2 else HEADER), Field("qs", "u8", block * bits // 8)),
        codes={"q": bit_stream(bits)},
        scale=_factor("step", v2),
        min=_factor("zero", v2),
        group=HALF if v2 else block,
        encode=lambda x: _encode(x, 2**bits - 1, 2 if v2 else 1),
        encode_searched=lambda x, weight: _encode(x, 2**bits - 1, 2 if v2 else 1, True, weight),
        rotated=rotated,
    )


def _factor(name: str, v2: bool) -> Factor:
    """One number of the block, or in version 2 one for each half."""
    return Factor((f"{name}0", f"{name}1"), elements=BLOCK) if v2 else Factor((name,))


def bit_stream(bits: int) -> Code:
    """Codes one after another without gaps, cut into planes of bits that never cross a byte."""
    width = {3: 1, 4: 4, 6: 2}[bits]
    period = 8 // np.gcd(bits, 8)  # codes that fill whole bytes
    start = "i" if period == 1 else f"i % {period}"
    planes = []
    for low in range(0, bits, width):
        bit = f"({start}) * {bits} + {low}"
        planes.append(Plane("qs", width, f"i / {period} * {period * bits // 8} + ({bit}) / 8", f"({bit}) % 8", low))
    return Code(tuple(planes))


def _encode(
    x: np.ndarray, top: int, parts: int, search: bool = False, weight: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """x [n, block]: minimum to code 0, maximum to `top`, halves rounded up. In version 2 the codes are chosen for the rounded header.

    search: step and zero are those with the least squared error instead, weighed by `weight`."""
    groups = x.reshape(len(x), parts, -1)
    if not search:
        low = groups.min(axis=2, keepdims=True)
        step = (groups.max(axis=2, keepdims=True) - low) / np.float32(top)
    else:
        weights = None if weight is None else weight.reshape(len(x) * parts, -1)
        step, low = (v.reshape(len(x), parts, 1) for v in best_affine(x.reshape(len(x) * parts, -1), top, weights))
    if parts > 1:
        low, step = (v.astype(np.float16).astype(np.float32) for v in (low, step))
    q = groups - low
    with np.errstate(divide="ignore"):
        q *= np.where(step > 0, 1 / step, np.float32(0))
    q += np.float32(0.5)
    codes = np.clip(q, 0, top, out=q).astype(np.uint8).reshape(x.shape)
    if parts == 1:
        return {"step": step[:, :, 0], "zero": low[:, :, 0], "q": codes}
    return {f"{name}{half}": v[:, half] for name, v in (("step", step), ("zero", low)) for half in (0, 1)} | {
        "q": codes
    }

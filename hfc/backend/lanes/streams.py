"""Codes that lie one after another as one stream of bits (3, 4 or 6 each), read in whole words by GPU lanes: see loaders.py.

Four codes become the four bytes of a word. Nibbles: the even and the odd ones of a word are masked and their bytes interleaved.
Others: each of four codes is masked and shifted to its byte.
"""

from __future__ import annotations

import math

import numpy as np

from hfc.formats.block import BlockFormat
from hfc.formats.layout import index_values

WORD_BITS = 32


def stream_bits(form: BlockFormat) -> int | None:
    """Bits of a code where code i lies at bit i * bits of one field of bytes."""
    planes = form.codes["q"].planes
    bits = sum(plane.bits for plane in planes)
    names = {plane.field for plane in planes}
    if len(names) > 1 or bits in (1, 2, 8) or next(f for f in form.fields if f.name in names).dtype != "u8":
        return None
    i = np.arange(form.block)
    found = all((8 * index_values(p.byte, i) + index_values(p.shift, i) == i * bits + p.left).all() for p in planes)
    return bits if found else None


def stream_lines(form: BlockFormat, bits: int, elements: int, loads) -> list[str]:
    """The statements that fill `codes` for call c of `elements` in a row. loads: of loaders.py, takes the loads."""
    at, nbytes = form.offsets[form.codes["q"].planes[0].field], elements * bits // 8
    start = f"block + {at} + c * {nbytes}"
    if nbytes % 4 == 0:
        first = loads.words(start, nbytes // 4, math.gcd(form.block_bytes, at, nbytes))
        words = [f"raw[{first + n}]" for n in range(nbytes // 4)]
    else:
        halves = [f"raw[{loads.one(f'*(const uint16_t*)({start} + {2 * n})')}]" for n in range(nbytes // 2)]
        words = [
            " | ".join(f"{half} << {16 * n}" if n else half for n, half in enumerate(halves[k : k + 2]))
            for k in range(0, len(halves), 2)
        ]
    lines = [f"  const uint32_t word[{len(words)}] = {{ {', '.join(words)} }};"]
    return lines + (_nibbles(len(words)) if bits == 4 else _spread(bits, elements // 4))


def _nibbles(count: int) -> list[str]:
    lines = []
    for n in range(count):
        lines.append(f"  const uint32_t pair{n}[2] = {{ word[{n}] & 0x0f0f0f0fu, word[{n}] >> 4 & 0x0f0f0f0fu }};")
        lines.append(
            f"  codes[{2 * n}] = hfc_pick<2>(pair{n}, 0, 4, 1, 5), codes[{2 * n + 1}] = hfc_pick<2>(pair{n}, 2, 6, 3, 7);"
        )
    return lines


def _spread(bits: int, quads: int) -> list[str]:
    lines, mask = [], 2**bits - 1
    for n in range(quads):
        word, shift = divmod(4 * bits * n, WORD_BITS)
        window = f"word[{word}] >> {shift}"
        if shift + 4 * bits > WORD_BITS:
            window = f"(uint32_t)(((uint64_t)word[{word + 1}] << 32 | word[{word}]) >> {shift})"
        lines.append(f"  const uint32_t four{n} = {window};")
        parts = [
            f"(four{n} & 0x{mask << bits * k:x}u) << {(8 - bits) * k}" if k else f"(four{n} & {mask}u)"
            for k in range(4)
        ]
        lines.append(f"  codes[{n}] = {' | '.join(parts)};")
    return lines

"""iq1_m: points of 8 out of 2048, each above or below; a scale for 16. 1.75 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, grid, halves, nibbles, words_of
from hfc.formats.quant import iq1g16


def apart(raw: np.ndarray) -> GridParts:
    """For every 8 elements 8 bits of point, then a nibble: 3 upper bits and one for below; 4 words, each of four scales and a nibble of d."""
    word = words_of(raw[:, 48:], "<u2")
    d = ((word & 0xF000) >> np.array([12, 8, 4, 0], np.uint16)).sum(axis=1, dtype=np.uint16)
    s = (word[:, :, None] >> np.arange(0, 12, 3, np.uint16) & 7).astype(np.uint8)
    high = nibbles(raw[:, 32:48])
    points = raw[:, :32] | (high & 7).astype(np.uint16) << 8
    d = halves(np.ascontiguousarray(d)[:, None].view(np.uint8))
    return GridParts(d / 8, s.reshape(len(raw), 16), points, (high >> 3) * np.uint8(255))


FORMAT = grid("iq1_m", iq1g16.FORMAT, 56, apart)

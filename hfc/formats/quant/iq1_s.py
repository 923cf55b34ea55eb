"""iq1_s: points of 8 out of 2048, a scale for 32, which are all above or all below. 1.5625 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, grid, halves, words_of
from hfc.formats.quant import iq1g16


def apart(raw: np.ndarray) -> GridParts:
    """f16 d; for every 8 elements 8 bits of point; for every 32 a word: four times 3 upper bits, 3 of scale, one for below."""
    word = words_of(raw[:, 34:], "<u2")
    upper = (word[:, :, None] >> np.arange(0, 12, 3, np.uint16) & 7) << 8
    below = np.repeat((word >> 15).astype(np.uint8) * 255, 4, axis=1)
    s = (word >> 12 & 7).astype(np.uint8)
    return GridParts(halves(raw[:, :2]) / 8, s, raw[:, 2:34] | upper.reshape(len(raw), 32), below)


FORMAT = grid("iq1_s", iq1g16.FORMAT, 50, apart)

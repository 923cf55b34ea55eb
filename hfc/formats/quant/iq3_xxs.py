"""iq3_xxs: points of 4 out of 256, signs in 7 bits, a scale for 32. 3.0625 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, even_signs, grid, halves, words_of
from hfc.formats.quant import iq3xxsg32


def apart(raw: np.ndarray) -> GridParts:
    """f16 d; 64 points; for every 32 elements a word: four times 7 bits of signs, 4 bits of scale."""
    word = words_of(raw[:, 66:], "<u4")[:, :, None]
    signs = even_signs(word >> np.arange(0, 28, 7, np.uint32) & 127)
    s = (word[:, :, 0] >> 28).astype(np.uint8)
    return GridParts(halves(raw[:, :2]) / 4, s, raw[:, 2:66], signs.reshape(len(raw), 32))


FORMAT = grid("iq3_xxs", iq3xxsg32.FORMAT, 98, apart)

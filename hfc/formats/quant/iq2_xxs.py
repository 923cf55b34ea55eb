"""iq2_xxs: points of 8 out of 256, signs in 7 bits, a scale for 32. 2.0625 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, even_signs, grid, halves, words_of
from hfc.formats.quant import iq2g16


def apart(raw: np.ndarray) -> GridParts:
    """f16 d; for every 32 elements four bytes of points, then a word: four times 7 bits of signs, 4 bits of scale."""
    lines = raw[:, 2:].reshape(len(raw), 8, 8)
    word = words_of(lines[:, :, 4:], "<u4")
    signs = even_signs(word >> np.arange(0, 28, 7, np.uint32) & 127)
    s = (word[:, :, 0] >> 28).astype(np.uint8)
    return GridParts(halves(raw[:, :2]) / 8, s, lines[:, :, :4].reshape(len(raw), 32), signs.reshape(len(raw), 32))


FORMAT = grid("iq2_xxs", iq2g16.FORMAT, 66, apart)

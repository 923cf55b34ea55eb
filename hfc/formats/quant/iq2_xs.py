"""iq2_xs: points of 8 out of 512, signs in 7 bits, a scale for 16. 2.3125 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, even_signs, grid, halves, nibbles, words_of
from hfc.formats.quant import iq2g16


def apart(raw: np.ndarray) -> GridParts:
    """f16 d; for every 8 elements 9 bits of point and 7 of signs; nibbles of scales."""
    word = words_of(raw[:, 2:66], "<u2")
    return GridParts(halves(raw[:, :2]) / 8, nibbles(raw[:, 66:]), word & 511, even_signs(word >> 9))


FORMAT = grid("iq2_xs", iq2g16.FORMAT, 74, apart)

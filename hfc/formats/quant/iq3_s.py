"""iq3_s: points of 4 out of 512, signs, a scale for 32. 3.4375 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, grid, halves, nibbles
from hfc.formats.quant import iq3sg32


def apart(raw: np.ndarray) -> GridParts:
    """f16 d; for every 4 elements 8 bits of point; the points' ninth bits; signs; nibbles of scales."""
    ninth = np.unpackbits(raw[:, 66:74], axis=1, bitorder="little")
    return GridParts(
        halves(raw[:, :2]), nibbles(raw[:, 106:]), raw[:, 2:66] | ninth.astype(np.uint16) << 8, raw[:, 74:106]
    )


FORMAT = grid("iq3_s", iq3sg32.FORMAT, 110, apart)

"""iq2_s: points of 8 out of 1024, signs, a scale for 16. 2.5625 bits a weight."""

import numpy as np

from hfc.formats.grid import GridParts, grid, halves, nibbles
from hfc.formats.quant import iq2g16


def apart(raw: np.ndarray) -> GridParts:
    """f16 d; for every 8 elements 8 bits of point; signs; the points' upper 2 bits; nibbles of scales."""
    upper = raw[:, 66:74, None] >> np.arange(0, 8, 2, np.uint8) & 3
    points = raw[:, 2:34] | upper.reshape(len(raw), 32).astype(np.uint16) << 8
    return GridParts(halves(raw[:, :2]) / 8, nibbles(raw[:, 74:]), points, raw[:, 34:66])


FORMAT = grid("iq2_s", iq2g16.FORMAT, 82, apart)

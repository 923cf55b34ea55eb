"""iq1g16: what iq1_s and iq1_m are in memory: -1, 0 and 1, an eighth above or below. 3.375 bits a weight."""

from hfc.formats.grid import level_blocks

FORMAT = level_blocks("iq1g16", (-7, 1, 9, 0, -9, -1, 7, 0), group=16)

"""iq2g16: what iq2_xxs, iq2_xs and iq2_s are in memory: three sizes and a sign. 3.375 bits a weight."""

from hfc.formats.grid import level_blocks

FORMAT = level_blocks("iq2g16", (8, 25, 43, 0, -8, -25, -43, 0), group=16)

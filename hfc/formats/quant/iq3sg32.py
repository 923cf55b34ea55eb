"""iq3sg32: what iq3_s is in memory: odd numbers up to 15 and a sign. 4.25 bits a weight."""

from hfc.formats.grid import level_blocks

FORMAT = level_blocks("iq3sg32", (*range(1, 16, 2), *range(-1, -16, -2)), group=32)

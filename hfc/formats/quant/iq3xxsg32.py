"""iq3xxsg32: what iq3_xxs is in memory: eight sizes and a sign. 4.25 bits a weight."""

from hfc.formats.grid import level_blocks

SIZES = (4, 12, 20, 28, 36, 44, 52, 62)
FORMAT = level_blocks("iq3xxsg32", (*SIZES, *(-size for size in SIZES)), group=32)

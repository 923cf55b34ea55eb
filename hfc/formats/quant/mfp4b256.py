"""mfp4b256: what mfp4g32 is in memory: 256 rotated four-bit floats, eight exponents and the row's scale. 4.5 bits a weight."""

from hfc.formats.hfp import hfp_blocks

FORMAT = hfp_blocks("mfp4b256", rotated=True)

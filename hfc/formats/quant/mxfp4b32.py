"""mxfp4b32: what mxfp4 is in memory: 32 four-bit floats under a bf16. 4.5 bits a weight."""

from hfc.formats.mxfp import mxfp_blocks

FORMAT = mxfp_blocks("mxfp4b32")

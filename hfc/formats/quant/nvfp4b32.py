"""nvfp4b32: what NVFP4 is in memory: four-bit floats, an f32 for every 16. 6 bits a weight."""

from hfc.formats.nvfp import nvfp_blocks

FORMAT = nvfp_blocks("nvfp4b32")

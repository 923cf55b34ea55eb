"""hfq3g256: 256 three-bit codes, f32 scale and zero. 3.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("hfq3g256", bits=3)

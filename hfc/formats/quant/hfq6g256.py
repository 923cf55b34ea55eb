"""hfq6g256: 256 six-bit codes, f32 scale and zero. 6.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("hfq6g256", bits=6)

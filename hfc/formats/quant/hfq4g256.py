"""hfq4g256: 256 nibbles, f32 scale and zero. 4.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("hfq4g256", bits=4)

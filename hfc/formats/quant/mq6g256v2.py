"""mq6g256v2: 256 six-bit codes of rotated weights, f16 scale and zero for each half. 6.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("mq6g256v2", bits=6, v2=True, rotated=True)

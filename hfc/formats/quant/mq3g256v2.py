"""mq3g256v2: 256 three-bit codes of rotated weights, f16 scale and zero for each half. 3.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("mq3g256v2", bits=3, v2=True, rotated=True)

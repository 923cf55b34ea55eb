"""hfq4g256v2: 256 nibbles, f16 scale and zero for each half. 4.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("hfq4g256v2", bits=4, v2=True)

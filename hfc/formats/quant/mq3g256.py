"""mq3g256: hfq3g256 of rotated weights. 3.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("mq3g256", bits=3, rotated=True)

"""mq4g256: hfq4g256 of rotated weights. 4.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("mq4g256", bits=4, rotated=True)

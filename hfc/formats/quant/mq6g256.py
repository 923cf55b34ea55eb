"""mq6g256: hfq6g256 of rotated weights. 6.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("mq6g256", bits=6, rotated=True)

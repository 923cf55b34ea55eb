"""mq4g256v2: hfq4g256v2 of rotated weights. 4.25 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("mq4g256v2", bits=4, v2=True, rotated=True)

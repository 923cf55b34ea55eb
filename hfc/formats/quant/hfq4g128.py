"""hfq4g128: 128 nibbles, f32 scale and zero; what hipfire stores where rows are no multiple of 256. 4.5 bits a weight."""

from hfc.formats.hfq import hfq

FORMAT = hfq("hfq4g128", bits=4, block=128)

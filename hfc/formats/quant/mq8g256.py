"""mq8g256: 256 signed bytes of rotated weights, one f16 scale. 8.0625 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored
from hfc.formats.quant.q8_0 import encode

FORMAT = BlockFormat(
    "mq8g256",
    block=256,
    fields=(Field("d", "f16"), Field("qs", "i8", 256)),
    codes={"q": code("qs", 8, "i", zero=-128)},
    scale=stored("d"),
    group=256,
    encode=encode,
    rotated=True,
)

"""q1_0: 128 signs, one f16 scale. 1.125 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored

FORMAT = BlockFormat(
    "q1_0",
    block=128,
    fields=(Field("d", "f16"), Field("qs", "u8", 16)),
    codes={"q": code("qs", 1, "i / 8", "i % 8")},
    scale=stored("d"),
    group=128,
    table=(-1, 1, 0, 0, 0, 0, 0, 0),
    gguf_type=41,
)

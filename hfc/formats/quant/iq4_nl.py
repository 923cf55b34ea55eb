"""iq4_nl: 32 nibbles that index a fixed table, one f16 scale. 4.5 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored

TABLE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

FORMAT = BlockFormat(
    "iq4_nl",
    block=32,
    fields=(Field("d", "f16"), Field("qs", "u8", 16)),
    codes={"q": code("qs", 4, "i % 16", "i / 16 * 4")},
    scale=stored("d"),
    group=32,
    table=TABLE,
    gguf_type=20,
)

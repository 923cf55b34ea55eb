"""q4_0: 32 nibbles around 8, one f16 scale. 4.5 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored
from hfc.formats.rounding import symmetric_codes
from hfc.formats.search import searched_symmetric

FORMAT = BlockFormat(
    "q4_0",
    block=32,
    fields=(Field("d", "f16"), Field("qs", "u8", 16)),
    codes={"q": code("qs", 4, "i % 16", "i / 16 * 4", zero=-8)},
    scale=stored("d"),
    group=32,
    encode=lambda x: symmetric_codes(x, 8),
    encode_searched=lambda x, weight: searched_symmetric(x, 8, weight),
    gguf_type=2,
)

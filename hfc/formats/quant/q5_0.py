"""q5_0: 32 nibbles and a mask of fifth bits around 16, one f16 scale. 5.5 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, stored
from hfc.formats.rounding import symmetric_codes
from hfc.formats.search import searched_symmetric

FORMAT = BlockFormat(
    "q5_0",
    block=32,
    fields=(Field("d", "f16"), Field("qh", "u8", 4), Field("qs", "u8", 16)),
    codes={"q": Code((Plane("qs", 4, "i % 16", "i / 16 * 4"), Plane("qh", 1, "i / 8", "i % 8", left=4)), zero=-16)},
    scale=stored("d"),
    group=32,
    encode=lambda x: symmetric_codes(x, 16),
    encode_searched=lambda x, weight: searched_symmetric(x, 16, weight),
    gguf_type=6,
)

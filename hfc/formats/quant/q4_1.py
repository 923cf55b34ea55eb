"""q4_1: 32 nibbles, f16 scale and minimum. 5 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored
from hfc.formats.rounding import affine_codes
from hfc.formats.search import searched_affine

FORMAT = BlockFormat(
    "q4_1",
    block=32,
    fields=(Field("d", "f16"), Field("m", "f16"), Field("qs", "u8", 16)),
    codes={"q": code("qs", 4, "i % 16", "i / 16 * 4")},
    scale=stored("d"),
    min=stored("m"),
    group=32,
    encode=lambda x: affine_codes(x, 15),
    encode_searched=lambda x, weight: searched_affine(x, 15, weight),
    gguf_type=3,
)

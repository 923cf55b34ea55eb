"""q5_1: 32 nibbles and a mask of fifth bits, f16 scale and minimum. 6 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, stored
from hfc.formats.rounding import affine_codes
from hfc.formats.search import searched_affine

FORMAT = BlockFormat(
    "q5_1",
    block=32,
    fields=(Field("d", "f16"), Field("m", "f16"), Field("qh", "u8", 4), Field("qs", "u8", 16)),
    codes={"q": Code((Plane("qs", 4, "i % 16", "i / 16 * 4"), Plane("qh", 1, "i / 8", "i % 8", left=4)))},
    scale=stored("d"),
    min=stored("m"),
    group=32,
    encode=lambda x: affine_codes(x, 31),
    encode_searched=lambda x, weight: searched_affine(x, 31, weight),
    gguf_type=7,
)

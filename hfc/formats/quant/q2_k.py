"""q2_k: 256 two-bit codes; groups of 16 with four-bit scale and minimum under two f16. 2.625 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored

FORMAT = BlockFormat(
    "q2_k",
    block=256,
    fields=(Field("scales", "u8", 16), Field("qs", "u8", 64), Field("d", "f16"), Field("dmin", "f16")),
    codes={
        "q": code("qs", 2, "i / 128 * 32 + i % 32", "i / 32 % 4 * 2"),
        "sc": code("scales", 4, "i / 16"),
        "m": code("scales", 4, "i / 16", "4"),
    },
    scale=stored("d", times="sc"),
    min=stored("dmin", times="m", negated=True),
    group=16,
    gguf_type=10,
)

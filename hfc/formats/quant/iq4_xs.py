"""iq4_xs: 256 nibbles that index iq4_nl's table; groups of 32 with six-bit scales around 32. 4.25 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, code, stored
from hfc.formats.quant.iq4_nl import TABLE

FORMAT = BlockFormat(
    "iq4_xs",
    block=256,
    fields=(Field("d", "f16"), Field("scales_h", "u8", 2), Field("scales_l", "u8", 4), Field("qs", "u8", 128)),
    codes={
        "q": code("qs", 4, "i / 32 * 16 + i % 16", "i / 16 % 2 * 4"),
        "sc": Code(
            (
                Plane("scales_l", 4, "i / 64", "i / 32 % 2 * 4"),
                Plane("scales_h", 2, "i / 128", "i / 32 % 4 * 2", left=4),
            ),
            zero=-32,
        ),
    },
    scale=stored("d", times="sc"),
    group=32,
    table=TABLE,
    gguf_type=23,
)

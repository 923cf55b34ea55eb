"""q4_k: 256 nibbles; groups of 32 with six-bit scale and minimum under two f16. 4.5 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, code, stored

# Eight scales and eight minimums of six bits in 12 bytes. Those of groups 0-3 are the low six bits of bytes 0-7; of
# groups 4-7 the low nibbles are bytes 8-11 and the upper two bits are the upper two bits of bytes 0-7.
SIX_BIT_SCALES = {
    "sc": Code(
        (Plane("scales", 4, "i / 32 + i / 128 * 4"), Plane("scales", 2, "i / 32 % 4", "4 + i / 128 * 2", left=4))
    ),
    "m": Code(
        (
            Plane("scales", 4, "4 + i / 32", "i / 128 * 4"),
            Plane("scales", 2, "4 + i / 32 % 4", "4 + i / 128 * 2", left=4),
        )
    ),
}

FORMAT = BlockFormat(
    "q4_k",
    block=256,
    fields=(Field("d", "f16"), Field("dmin", "f16"), Field("scales", "u8", 12), Field("qs", "u8", 128)),
    codes={"q": code("qs", 4, "i / 64 * 32 + i % 32", "i / 32 % 2 * 4"), **SIX_BIT_SCALES},
    scale=stored("d", times="sc"),
    min=stored("dmin", times="m", negated=True),
    group=32,
    gguf_type=12,
)

"""q3_k: 256 three-bit codes (two bits and a mask); groups of 16 with six-bit scales. 3.4375 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, stored

FORMAT = BlockFormat(
    "q3_k",
    block=256,
    fields=(Field("hmask", "u8", 32), Field("qs", "u8", 64), Field("scales", "u8", 12), Field("d", "f16")),
    codes={
        "q": Code(
            (Plane("qs", 2, "i / 128 * 32 + i % 32", "i / 32 % 4 * 2"), Plane("hmask", 1, "i % 32", "i / 32", left=2)),
            zero=-4,
        ),
        "sc": Code(
            (
                Plane("scales", 4, "i / 16 % 8", "i / 128 * 4"),
                Plane("scales", 2, "8 + i / 16 % 4", "i / 64 * 2", left=4),
            ),
            zero=-32,
        ),
    },
    scale=stored("d", times="sc"),
    group=16,
    gguf_type=11,
)

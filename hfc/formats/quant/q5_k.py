"""q5_k: q4_k with a mask of fifth bits. 5.5 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, stored
from hfc.formats.quant.q4_k import SIX_BIT_SCALES

FORMAT = BlockFormat(
    "q5_k",
    block=256,
    fields=(
        Field("d", "f16"),
        Field("dmin", "f16"),
        Field("scales", "u8", 12),
        Field("qh", "u8", 32),
        Field("qs", "u8", 128),
    ),
    codes={
        "q": Code(
            (Plane("qs", 4, "i / 64 * 32 + i % 32", "i / 32 % 2 * 4"), Plane("qh", 1, "i % 32", "i / 32", left=4))
        ),
        **SIX_BIT_SCALES,
    },
    scale=stored("d", times="sc"),
    min=stored("dmin", times="m", negated=True),
    group=32,
    gguf_type=13,
)

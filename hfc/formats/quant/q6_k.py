"""q6_k: 256 six-bit codes around 32 (nibbles and two upper bits); groups of 16 with signed byte scales. 6.5625 bits."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Code, Field, Plane, code, stored

FORMAT = BlockFormat(
    "q6_k",
    block=256,
    fields=(Field("ql", "u8", 128), Field("qh", "u8", 64), Field("scales", "i8", 16), Field("d", "f16")),
    codes={
        "q": Code(
            (
                Plane("ql", 4, "i / 128 * 64 + i % 64", "i / 64 % 2 * 4"),
                Plane("qh", 2, "i / 128 * 32 + i % 32", "i / 32 % 4 * 2", left=4),
            ),
            zero=-32,
        ),
        "sc": code("scales", 8, "i / 16", zero=-128),
    },
    scale=stored("d", times="sc"),
    group=16,
    gguf_type=14,
)

"""tq2_0: 256 codes of -1, 0 and 1 (2 bits), one f16 scale. 2.0625 bits a weight."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored

FORMAT = BlockFormat(
    "tq2_0",
    block=256,
    fields=(Field("qs", "u8", 64), Field("d", "f16")),
    codes={"q": code("qs", 2, "i / 128 * 32 + i % 32", "i / 32 % 4 * 2", zero=-1)},
    scale=stored("d"),
    group=256,
    gguf_type=35,
)

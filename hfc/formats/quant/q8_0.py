"""q8_0: 32 signed bytes, one f16 scale. 8.5 bits a weight."""

import numpy as np

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field, code, stored
from hfc.formats.rounding import round_away, safe_reciprocal


def encode(x: np.ndarray) -> dict[str, np.ndarray]:
    """x [n, 32]: d = max |x| / 127, codes round half away from zero."""
    d = abs(x).max(axis=1, keepdims=True) / np.float32(127)
    return {"d": d, "q": (round_away(x * safe_reciprocal(d)) + 128).astype(np.uint8)}


FORMAT = BlockFormat(
    "q8_0",
    block=32,
    fields=(Field("d", "f16"), Field("qs", "i8", 32)),
    codes={"q": code("qs", 8, "i", zero=-128)},
    scale=stored("d"),
    group=32,
    encode=encode,
    gguf_type=8,
)

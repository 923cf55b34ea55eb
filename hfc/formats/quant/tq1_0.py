"""tq1_0: tq2_0 with five codes in a byte, as digits of base 3. 1.6875 bits a weight; in memory it is tq2_0."""

import numpy as np

from hfc.formats.quant import tq2_0
from hfc.formats.rows import RowFormat

POWERS = np.array([1, 3, 9, 27, 81], np.uint8)
BYTES = 54


def to_blocks(raw: np.ndarray) -> np.ndarray:
    """32 and 16 bytes of five digits each and 4 of four, digit by digit; then f16 d. A byte is its number times 256 / 243, rounded up."""
    block = raw.reshape(-1, BYTES)
    digits = []
    for start, stop, count in ((0, 32, 5), (32, 48, 5), (48, 52, 4)):
        turned = block[:, None, start:stop] * POWERS[:count, None]  # the wanted digit is the highest one
        digits.append((turned.astype(np.uint16) * 3 >> 8).astype(np.uint8).reshape(len(block), -1))
    form, d = tq2_0.FORMAT, np.ascontiguousarray(block[:, 52:]).view("<f2").astype(np.float32)
    return form.assemble({"q": np.concatenate(digits, axis=1), "d": d})


FORMAT = RowFormat(
    "tq1_0", tq2_0.FORMAT, header_bytes=0, group=256, group_bytes=BYTES, encode=None, to_blocks=to_blocks
)

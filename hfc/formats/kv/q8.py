"""q8 KV cache: 32 signed bytes and an f16 scale, 8.5 bits an element."""

from dataclasses import replace

from hfc.formats.kv_block import KvBlocks
from hfc.formats.quant import q8_0

FORMAT = KvBlocks("q8", replace(q8_0.FORMAT, name="kv_q8_block"))

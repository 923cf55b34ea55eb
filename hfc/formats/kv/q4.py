"""q4 KV cache, meant for values: 32 nibbles with f16 scale and minimum, 5 bits an element."""

from dataclasses import replace

from hfc.formats.kv_block import KvBlocks
from hfc.formats.quant import q4_1

FORMAT = KvBlocks("q4", replace(q4_1.FORMAT, name="kv_q4_block"))

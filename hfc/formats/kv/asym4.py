"""asym4 KV cache: keys as 4-bit codes of their rotated direction under one f32 norm; values in q8."""

from hfc.formats.kv_block import KvRotated

FORMAT = KvRotated("asym4", 4)

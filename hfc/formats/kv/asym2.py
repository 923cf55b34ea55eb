"""asym2 KV cache: keys as 2-bit codes of their rotated direction under one f32 norm; values in q8."""

from hfc.formats.kv_block import KvRotated

FORMAT = KvRotated("asym2", 2)

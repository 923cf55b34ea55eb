"""asym3 KV cache: keys as 3-bit codes of their rotated direction under one f32 norm; values in q8."""

from hfc.formats.kv_block import KvRotated

FORMAT = KvRotated("asym3", 3)

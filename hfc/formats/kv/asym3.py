"""asym3 KV cache: keys as 3-bit codes of their turned direction under one f32 norm; values in q8."""

from hfc.formats.kv_block import KvTurned

FORMAT = KvTurned("asym3", 3)

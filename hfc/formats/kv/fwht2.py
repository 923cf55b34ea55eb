"""fwht2 KV cache: keys as 2-bit codes of their mixed direction under one f32 norm; values in q8. The bytes of asym2."""

from hfc.formats.kv_block import KvRotated

FORMAT = KvRotated("fwht2", 2, mixes=True)

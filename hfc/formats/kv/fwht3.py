"""fwht3 KV cache: keys as 3-bit codes of their mixed direction under one f32 norm; values in q8. The bytes of asym3."""

from hfc.formats.kv_block import KvRotated

FORMAT = KvRotated("fwht3", 3, mixes=True)

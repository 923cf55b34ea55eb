"""fwht4 KV cache: keys as 4-bit codes of their mixed direction under one f32 norm; values in q8. The bytes of asym4."""

from hfc.formats.kv_block import KvRotated

FORMAT = KvRotated("fwht4", 4, mixes=True)

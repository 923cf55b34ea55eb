"""f32 KV cache: exact."""

from hfc.formats.kv_format import KvFormat

FORMAT = KvFormat("f32", "f32")

"""f16 KV cache: half the bytes, rounded to nearest even when written."""

from hfc.formats.kv_format import KvFormat

FORMAT = KvFormat("f16", "f16")

"""bf16: the upper half of a single."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field

FORMAT = BlockFormat("bf16", 1, (Field("x", "bf16"),), gguf_type=30, safetensors_dtype="BF16")

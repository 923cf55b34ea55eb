"""f32: IEEE single precision."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field

FORMAT = BlockFormat("f32", 1, (Field("x", "f32"),), gguf_type=0, safetensors_dtype="F32")

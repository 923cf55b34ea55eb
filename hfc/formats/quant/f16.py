"""f16: IEEE half precision."""

from hfc.formats.block import BlockFormat
from hfc.formats.layout import Field

FORMAT = BlockFormat("f16", 1, (Field("x", "f16"),), gguf_type=1, safetensors_dtype="F16")

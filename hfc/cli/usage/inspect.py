"""What `hfc inspect` takes."""

from hfc.cli.usage.declare import usage
from hfc.cli.usage.shared import JSON, model

USAGE = usage(
    "Print every tensor with its format, bits per weight, and the quality report if there is one.",
    model("A .gguf, .safetensors, a folder, or a name of `hfc models`.", metavar="FILE"),
    JSON,
)

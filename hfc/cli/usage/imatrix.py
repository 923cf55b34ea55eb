"""What `hfc imatrix` takes."""

from pathlib import Path

from hfc.cli.usage.declare import option, usage
from hfc.cli.usage.shared import QUIET, model

USAGE = usage(
    "Run a text through the model in float32 and write the mean squares of every weight's inputs.",
    model("A checkpoint, or a name of `hfc models`."),
    option("--output -o", Path, "The .gguf to write.", metavar="FILE", required=True),
    option("--file -f", Path, "The text, UTF-8. [default: Python's manual, from its library]", name="text"),
    option("--tokens -n", int, "Use the first N tokens of the text.", 8192, least=2),
    option("--chunk", int, "Tokens of each separate piece of text.", 512, least=2),
    QUIET,
)

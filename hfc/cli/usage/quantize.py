"""What `hfc quantize` takes."""

from pathlib import Path

from hfc.cli.usage.declare import Argument, flag, option, usage
from hfc.cli.usage.shared import QUIET

USAGE = usage(
    "Quantize a model. Embeddings, the head, routers and small gates keep 8 bits; norms and convolutions stay as they are.",
    Argument("source", "A Hugging Face folder, .safetensors, .gguf, or a name of `hfc models`.", metavar="SRC"),
    option("--format", str, "Format of the matrices, e.g. hfc4, mq4g256v2, q8_0.", required=True),
    option("--output -o", Path, "The folder to write. [default: SRC-FORMAT here]", metavar="FOLDER"),
    option(
        "--keep",
        str,
        "A format for tensors whose names match; FORMAT may be source. Repeatable.",
        metavar="PATTERN=FORMAT",
        many=True,
    ),
    option("--imatrix", Path, "An importance matrix, of `hfc imatrix` or llama.cpp's (.gguf, .dat).", metavar="FILE"),
    flag("--awq", "Scale inputs that carry much, and what makes them the other way."),
    flag("--gptq", "Let every column make up for the rounding of those before it."),
    option(
        "--file -f",
        Path,
        "The text for --gptq, and for --awq without --imatrix. [default: Python's manual]",
        name="text",
    ),
    option("--tokens -n", int, "Use the first N tokens of that text.", 8192, least=2),
    flag("--dry-run", "Print what every tensor becomes, and write nothing."),
    option("--eval", int, "Measure on N tokens, keep the report.", name="evaluate", least=2, metavar="N"),
    QUIET,
)

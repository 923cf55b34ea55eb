"""What `hfc new-model` takes."""

from pathlib import Path

from hfc.cli.usage.declare import Argument, flag, option, usage

USAGE = usage(
    "Begin a model file for a family that hfc does not ship: every config key and tensor is in it, what is to be decided is marked.",
    Argument("config", "A config.json, or a Hugging Face folder, whose tensors are then listed too."),
    option("--output -o", Path, "The .hfm to write. [default: print it]", metavar="FILE"),
    flag("--force", "Write over a file that is there."),
)

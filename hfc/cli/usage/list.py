"""What `hfc list` takes."""

from hfc.cli.usage.declare import flag, usage

USAGE = usage(
    "List the models on this machine.",
    flag("--remote", "List the models that have a name, whether they are here or not."),
)

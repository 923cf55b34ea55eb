"""What `hfc show` takes."""

from hfc.cli.usage.declare import Argument, usage

USAGE = usage(
    "Say what is known of a model: where it comes from, its licence, size, files, recommended sampling, draft.",
    Argument("name", "A name of `hfc list` or `hfc list --remote`."),
)

"""What `hfc rm` takes."""

from hfc.cli.usage.declare import Argument, flag, usage

USAGE = usage(
    "Remove models from this machine, with what was made of them.",
    Argument("names", "Names of `hfc list`.", metavar="NAME", required=False, many=True),
    flag(
        "--unused",
        "Remove what nothing needs: unfinished downloads, files of no model, kernels not used for a month.",
        name="unused_too",
    ),
    flag("--dry-run", "Print what would be removed, and remove nothing."),
)

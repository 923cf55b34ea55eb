"""What `hfc fmt` takes."""

from hfc.cli.usage.declare import Argument, flag, usage

USAGE = usage(
    "Lay out model files: indentation by braces, no white space at the end of lines. Columns of tables stay as they are.",
    Argument("files", "Files to write again.", metavar="FILE.hfm", many=True),
    flag("--check", "Change nothing; exit code 1 and their names if some would change."),
)

"""What `hfc lsp` takes."""

from hfc.cli.usage.declare import usage

USAGE = usage(
    "Serve an editor over standard input and output: diagnostics, hover, completion and formatting of .hfm files."
)

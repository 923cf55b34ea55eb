"""What `hfc ps` takes."""

from hfc.cli.usage.declare import usage

USAGE = usage("List the servers that run.")

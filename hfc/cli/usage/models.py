"""What `hfc models` takes."""

from hfc.cli.usage.declare import usage

USAGE = usage("List the models that have a name, and where they are on this machine.")

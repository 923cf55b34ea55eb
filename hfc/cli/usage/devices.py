"""What `hfc devices` takes."""

from hfc.cli.usage.declare import usage
from hfc.cli.usage.shared import JSON

USAGE = usage("List the devices of this machine, and which of them --device auto takes.", JSON)

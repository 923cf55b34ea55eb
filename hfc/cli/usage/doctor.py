"""What `hfc doctor` takes."""

from hfc.cli.usage.declare import usage

USAGE = usage("Print versions, compilers, devices, knobs and models. Paste it into a bug report.")

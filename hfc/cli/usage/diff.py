"""What `hfc diff` takes."""

from pathlib import Path

from hfc.cli.usage.declare import Argument, usage

USAGE = usage(
    "Say what changed from one bundle to another: model file, settings, weight and KV formats, memory, launches, and each kernel's "
    "registers, LDS, occupancy and code. Exit code 1 if anything did.",
    Argument("old", "A bundle.", "BUNDLE", Path),
    Argument("new", "The bundle to compare it with.", "BUNDLE", Path),
)

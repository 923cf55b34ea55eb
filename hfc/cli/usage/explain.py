"""What `hfc explain` takes."""

from pathlib import Path

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.shared import CONTEXT, KV, MODEL, PROFILE, WEIGHTS

USAGE = usage(
    "List a bundle's kernels with registers, LDS and launches. A model that is no bundle is compiled first.",
    MODEL,
    option("--arch", str, "Only this architecture; for a model, the one to compile for. [default: host]"),
    flag("--launches", "List every launch with the ops that it runs."),
    option(
        "--kernel",
        str,
        "Only this kernel, by its name in the list or a part that no other has: its IR and why, or what the flags below ask for.",
        metavar="NAME",
    ),
    flag("--ir", "With --kernel: the region of the graph that it serves, as IR text."),
    flag(
        "--why", "With --kernel: why it serves its region, why not each other variant, and the limits that it keeps to."
    ),
    flag("--source", "With --kernel: its HIP source; of the host, its C."),
    flag("--asm", "With --kernel: its instructions, with registers, LDS and occupancy."),
    option(
        "--html",
        Path,
        "Write a page that leads from the model file's lines to ops, regions, kernels and assembly.",
        metavar="FILE",
    ),
    WEIGHTS,
    KV,
    PROFILE,
    CONTEXT,
    option("--card", str, "Also predict the time of each launch on this card: see `hfc predict`.", metavar="CARD"),
)

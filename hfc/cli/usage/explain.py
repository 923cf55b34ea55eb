"""What `hfc explain` takes."""

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.shared import CONTEXT, KV, MODEL, WEIGHTS

USAGE = usage(
    "List a bundle's kernels with registers, LDS and launches. A model that is no bundle is compiled first.",
    MODEL,
    option("--arch", str, "Only this architecture; for a model, the one to compile for. [default: host]"),
    flag("--launches", "List every launch with the ops that it runs."),
    option("--kernel", str, "Only this kernel, by its name in the list; with --why.", metavar="NAME"),
    flag("--why", "Why this kernel serves its region, why not each other variant, and the limits that it keeps to."),
    WEIGHTS,
    KV,
    CONTEXT,
    option("--card", str, "Also predict the time of each launch on this card: see `hfc predict`.", metavar="CARD"),
)

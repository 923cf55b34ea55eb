"""What `hfc opt` takes."""

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.shared import CONTEXT, KV, WEIGHTS, model

USAGE = usage(
    "Print a model's graph as text, after all passes or the chosen ones.",
    model("A model, or a graph as text (.ir, or - for standard input)."),
    option("--passes", str, "Names with commas between, or none. [default: all]"),
    option("--arch", str, "The architecture that the passes ask about.", "host"),
    WEIGHTS,
    KV,
    CONTEXT,
    flag("--print-after-all", "Print the graph after each pass."),
    flag("--list", "List the passes with their reasons; MODEL may be anything.", name="list_passes"),
)

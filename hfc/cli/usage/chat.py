"""What `hfc chat` takes."""

from hfc.cli.usage.declare import usage
from hfc.cli.usage.sampling import SAMPLING, SYSTEM, TEMPLATE
from hfc.cli.usage.shared import LOADING, MODEL

USAGE = usage(
    "Talk with a model at a terminal. A server that runs and has the model answers; else the model is loaded.",
    MODEL,
    SYSTEM,
    *SAMPLING,
    *TEMPLATE,
    *LOADING,
)

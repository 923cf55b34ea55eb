"""What `hfc chat` takes."""

from hfc.cli.usage.declare import usage
from hfc.cli.usage.sampling import SAMPLING, SYSTEM, TEMPLATE
from hfc.cli.usage.shared import CONTEXT, DEVICE, EXPERTS, KV, MODEL, THREADS, TRUST, WEIGHTS, draft

USAGE = usage(
    "Talk with a model at a terminal. A server that runs and has the model answers; else the model is loaded.",
    MODEL,
    SYSTEM,
    *SAMPLING,
    *TEMPLATE,
    CONTEXT,
    KV,
    THREADS,
    DEVICE,
    EXPERTS,
    draft("auto"),
    WEIGHTS,
    TRUST,
)

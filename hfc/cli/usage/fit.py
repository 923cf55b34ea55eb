"""What `hfc fit` takes."""

from hfc.cli.usage.declare import option, usage
from hfc.cli.usage.kinds import tokens
from hfc.cli.usage.shared import EXPERTS, FORMAT, KV, MODEL, TENSOR_PARALLEL, WEIGHTS, draft

USAGE = usage(
    "Print the memory plan: weights, scratch, state, the largest context. Exit code 1 if it does not fit.",
    MODEL,
    option("--vram", str, "Memory of the card: 24 (GiB), 24G, 16384M.", metavar="SIZE"),
    option(
        "--stages",
        str,
        "A table for each stage of a pipeline: as `hfc compile --stages` takes it; then --vram has a size for each: 24G,16G.",
        metavar="LIST",
    ),
    option("--ctx -c --ctx-size", tokens, "Tokens of context: 4096, 32k.", metavar="N"),
    option("--slots", int, "Sequences at a time.", 1, least=1),
    KV,
    EXPERTS,
    TENSOR_PARALLEL,
    FORMAT,
    option("--arch", str, "Architecture to plan for.", "gfx1100"),
    WEIGHTS,
    draft("off"),
    option("--card", str, "A card of `hfc predict --cards`: its memory and architecture.", metavar="CARD"),
)

"""What `hfc check-model` takes."""

from hfc.cli.usage.declare import option, usage
from hfc.cli.usage.shared import model

USAGE = usage(
    "Hold a model file against a checkpoint: what is missing line by line, launches a layer, logits and tokens against transformers.",
    model("The .hfm file."),
    option("--weights", str, "The checkpoint, or a config.json.", metavar="CHECKPOINT", required=True),
    option("--arch", str, "The architecture whose launches are counted.", "gfx1100"),
)

"""What `hfc predict` takes."""

from pathlib import Path

from hfc.cli.usage.declare import Argument, flag, option, usage
from hfc.cli.usage.kinds import tokens
from hfc.cli.usage.shared import EXPERTS, FORMAT, KV, MODEL, PROFILE, TENSOR_PARALLEL, WEIGHTS

USAGE = usage(
    "Predict tokens a second on a card that is not here, launch by launch, and what bounds each kernel. "
    "What the figures are good for: docs/predict.md.",
    Argument("model", MODEL.help, required=False),
    option("--card", str, "A card of `hfc predict --cards`, or an architecture: all of its cards.", metavar="CARD"),
    option(
        "-p",
        int,
        "Length of a prompt, 0: none. [default: 512, or what the model takes]",
        name="prompt",
        metavar="N",
        least=0,
    ),
    option(
        "-n",
        int,
        "How many tokens to decode, 0: none. [default: 128, or what the model takes]",
        name="decode",
        metavar="N",
        least=0,
    ),
    option("--ctx -c --ctx-size", tokens, "Tokens before those that are decoded.", 0, name="context", metavar="N"),
    flag("--json", "Print a JSON object for each card.", name="as_json"),
    option("--trace", Path, "Write a trace for ui.perfetto.dev.", metavar="FILE"),
    flag("--cards", "List the cards.", name="list_cards"),
    option("--units", int, "Another card of this kind: its compute units.", least=1),
    option("--ghz", float, "Its clock in long runs."),
    option("--gb-s", float, "Its peak bandwidth.", name="gb_s"),
    option("--host-gb-s", float, "With --experts on the host: how fast its memory is read.", name="host_gb_s"),
    option(
        "--link-gb-s", float, "With --tensor-parallel: how fast a card reads another one's memory.", name="link_gb_s"
    ),
    option("--blocks", int, "Thread blocks that are traced of a launch.", 2, least=1),
    FORMAT,
    KV,
    PROFILE,
    EXPERTS,
    TENSOR_PARALLEL,
    WEIGHTS,
)

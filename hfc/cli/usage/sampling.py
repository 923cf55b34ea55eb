"""Options that say how an answer is made, of `hfc run` and `hfc chat`."""

from hfc.cli.usage.declare import PROJECT, USER, option
from hfc.cli.usage.kinds import switch

SYSTEM = option(
    "--system",
    str,
    "The system message of the chat.",
    metavar="TEXT",
    settable=USER,
    also=("--system-prompt", "-sys"),
)
SAMPLING = (
    option(
        "--temperature --temp",
        float,
        "0 always takes the likeliest token. [default: the model's, else 0.7]",
        settable=PROJECT,
    ),
    option(
        "--top-k", int, "Choose among the N likeliest tokens; 0: all. [default: the model's, else 40]", settable=PROJECT
    ),
    option(
        "--top-p",
        float,
        "Choose among the likeliest tokens with this total; 1: all. [default: the model's, else 0.95]",
        settable=PROJECT,
    ),
    option(
        "--min-p",
        float,
        "Drop tokens less likely than this share of the likeliest; 0: none. [default: the model's, else 0.05]",
        settable=PROJECT,
    ),
    option(
        "--repeat-penalty",
        float,
        "Above 1, tokens of the last 64 become less likely. [default: the model's, else 1]",
        settable=PROJECT,
    ),
    option("--seed", int, "Equal seeds give equal text. [default: a fresh one]", also=("-s",), unset=("-1",)),
    option(
        "--max-tokens -n",
        int,
        "Stop after N tokens; -1: when the context is full.",
        least=1,
        unset=("-1", "-2"),
        settable=PROJECT,
        also=("--n-predict", "--predict"),
    ),
)
TEMPLATE = (
    option(
        "--think",
        switch,
        "on or off: enable_thinking of the chat template. [default: the template's]",
        metavar="on|off",
    ),
    option(
        "--var",
        str,
        "NAME=VALUE for the chat template; may be given more than once.",
        metavar="NAME=VALUE",
        many=True,
        name="variables",
    ),
)

"""What `hfc run` takes."""

from hfc.cli.usage.declare import PROJECT, USER, Argument, flag, option, usage
from hfc.cli.usage.shared import CONTEXT, DEVICE, KV, MODEL, THREADS, TRUST, WEIGHTS, draft

USAGE = usage(
    "Answer a prompt. The text goes to standard output, a summary to standard error.",
    MODEL,
    Argument("prompt", "What to say; without it the prompt is read from standard input.", required=False),
    flag("--raw", "Continue the prompt as it stands, without the chat template."),
    flag("--special", "Read control tokens that the prompt spells (<|im_start|>) as tokens."),
    option(
        "--system",
        str,
        "The system message of the chat.",
        metavar="TEXT",
        settable=USER,
        also=("--system-prompt", "-sys"),
    ),
    option("--temperature --temp", float, "0 always takes the likeliest token. [default: 0.7]", settable=PROJECT),
    option("--top-k", int, "Choose among so many tokens; 0: all. [default: 40]", settable=PROJECT),
    option(
        "--top-p", float, "Choose among the likeliest tokens with this total; 1: all. [default: 0.95]", settable=PROJECT
    ),
    option(
        "--min-p",
        float,
        "Drop tokens less likely than this share of the likeliest; 0: none. [default: 0.05]",
        settable=PROJECT,
    ),
    option(
        "--repeat-penalty", float, "Above 1, tokens of the last 64 become less likely. [default: 1]", settable=PROJECT
    ),
    option("--seed", int, "Equal seeds give equal text. [default: a fresh one]", also=("-s",)),
    option(
        "--max-tokens -n",
        int,
        "Stop after so many tokens.",
        least=1,
        settable=PROJECT,
        also=("--n-predict", "--predict"),
    ),
    option("--stop", str, "Stop before this text; may be given more than once.", metavar="TEXT", many=True),
    CONTEXT,
    KV,
    THREADS,
    DEVICE,
    draft("auto"),
    WEIGHTS,
    TRUST,
)

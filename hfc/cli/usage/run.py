"""What `hfc run` takes."""

from pathlib import Path

from hfc.cli.usage.declare import Argument, flag, option, usage
from hfc.cli.usage.sampling import SAMPLING, SYSTEM, TEMPLATE
from hfc.cli.usage.shared import JSON, LOADING, MODEL

USAGE = usage(
    "Answer a prompt. The text goes to standard output, a summary to standard error. At a terminal without a prompt: hfc chat.",
    MODEL,
    Argument(
        "prompt",
        "What to say, quoted or as words; without it the prompt is read from standard input.",
        required=False,
        joined=True,
    ),
    option("--file -f", Path, "Read the prompt from a file.", metavar="FILE"),
    option(
        "--tokens",
        str,
        "Token ids instead of a prompt; token ids come out, and no tokenizer is read.",
        metavar="13,59,...",
    ),
    flag("--raw", "Continue the prompt as it stands, without the chat template."),
    flag("--special", "Read control tokens that the prompt spells (<|im_start|>) as tokens."),
    SYSTEM,
    *SAMPLING,
    option("--stop", str, "Stop before this text; may be given more than once.", metavar="TEXT", many=True),
    *TEMPLATE,
    JSON,
    *LOADING,
)

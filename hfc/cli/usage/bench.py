"""What `hfc bench` takes."""

from pathlib import Path

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.shared import (
    CONTEXT,
    DEVICE,
    EXPERTS,
    FORMAT,
    KV,
    MODEL,
    PROFILE,
    TENSOR_PARALLEL,
    THREADS,
    TRUST,
    WEIGHTS,
    draft,
    random_weights,
)

USAGE = usage(
    "Measure prefill (pp) and decode (tg) speed: every -p, and every -n at every -d in every -b. With --draft also "
    "speculative against plain decoding, on prompts of several genres.",
    MODEL,
    option(
        "-p", str, "Lengths of prompts to prefill, with commas between.", "128,512", name="prompts", metavar="N,..."
    ),
    option("-n", str, "How many tokens to decode.", "64", name="decode", metavar="N,..."),
    option("-d", str, "Tokens that the context holds before decoding.", "0", name="depth", metavar="N,..."),
    option("-b", str, "Sequences that decode together.", "1", name="batch", metavar="N,..."),
    THREADS,
    option("-r", int, "Repetitions, after one that does not count.", 5, name="repetitions", least=1),
    flag("--json", "Print a list of JSON objects.", name="as_json"),
    option("--save", Path, "Write the measurements as a record.", metavar="FILE"),
    option("--compare", Path, "Print them beside those of a record, and what changed.", metavar="FILE"),
    option("--share", Path, "Write them as Markdown to paste, the record inside; no path is in it.", metavar="FILE"),
    CONTEXT,
    KV,
    PROFILE,
    DEVICE,
    EXPERTS,
    TENSOR_PARALLEL,
    WEIGHTS,
    TRUST,
    random_weights("Draw the weights: MODEL may be a config.json. GPUs only."),
    FORMAT,
    draft("off"),
    option("--draft-tokens", int, "Tokens of each text that --draft is measured on.", 200, least=1),
    option(
        "--draft-acceptance",
        float,
        "Measure blocks of which this many tokens are accepted, whatever the weights say. [default: real texts]",
    ),
    option(
        "--draft-rows", str, "Rows of the blocks of --draft-acceptance, with commas between.", "16", metavar="N,..."
    ),
)

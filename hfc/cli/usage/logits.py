"""What `hfc logits` takes."""

from pathlib import Path

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.shared import CONTEXT, DEVICE, EXPERTS, KV, MODEL, PROFILE, TENSOR_PARALLEL, THREADS, TRUST, WEIGHTS

USAGE = usage(
    "Write the logits that follow each of the given tokens.",
    MODEL,
    option("--tokens", Path, "Token ids, an .npy file with integers [T].", metavar="FILE", required=True),
    option(
        "--out", Path, "Where to write the logits, an .npy file, float32 [T, vocab].", metavar="FILE", required=True
    ),
    flag("--step", "Feed one token at a time, as decoding does."),
    CONTEXT,
    KV,
    PROFILE,
    THREADS,
    DEVICE,
    EXPERTS,
    TENSOR_PARALLEL,
    WEIGHTS,
    TRUST,
)

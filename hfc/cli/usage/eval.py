"""What `hfc eval` takes."""

from pathlib import Path

from hfc.cli.usage.declare import option, usage
from hfc.cli.usage.shared import DEVICE, EXPERTS, JSON, KV, MODEL, PROFILE, TENSOR_PARALLEL, THREADS, TRUST, WEIGHTS

USAGE = usage(
    "Print perplexity on a text and, against a reference, KL divergence and how often the likeliest token agrees.",
    MODEL,
    option("--against", str, "Reference: another model or format, or logits that --save wrote (.npy).", metavar="REF"),
    option("--against-device", str, "Device of the reference. interpret computes it in float32. [default: --device]"),
    option("--against-kv", str, "KV format of the reference. [default: --kv]"),
    option("--text", Path, "The text, UTF-8. [default: Python's manual, from its library]", metavar="FILE"),
    option("--tokens -n", int, "Use the first N tokens of the text.", 4096, least=2),
    option("--chunk", int, "Tokens of each separate piece of text. [default: 512 or the context]", least=2),
    option(
        "--decode-rows",
        int,
        "Take N tokens a step, as decoding does, which has its own kernels on GPUs. [default: as prompts are taken]",
        least=1,
        most=16,
    ),
    option("--save", Path, "Write the logits, a .npy for --against.", metavar="FILE"),
    JSON,
    KV,
    PROFILE,
    THREADS,
    DEVICE,
    EXPERTS,
    TENSOR_PARALLEL,
    WEIGHTS,
    TRUST,
)

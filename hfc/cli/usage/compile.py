"""What `hfc compile` takes."""

from pathlib import Path

from hfc.cli.usage.declare import flag, option, usage
from hfc.cli.usage.kinds import size
from hfc.cli.usage.shared import (
    CONTEXT,
    EXPERTS,
    FORMAT,
    KV,
    PROFILE,
    QUIET,
    SLOTS,
    TENSOR_PARALLEL,
    WEIGHTS,
    draft,
    model,
)

USAGE = usage(
    "Compile a model into a bundle that `hfc run` loads without the compiler. Needs no GPU.",
    model("A .hfm, a Hugging Face folder, a .gguf file, a config.json, or a name of `hfc models`."),
    option("--output -o", Path, "The bundle to write.", metavar="FILE", required=True),
    option(
        "--arch",
        str,
        "Architectures, with commas between, or all; may be given more than once. [default: host]",
        many=True,
    ),
    option(
        "--stages",
        str,
        "A pipeline over several devices, each with a plan of its own: the layers of each (gfx1100:0-19,gfx1030:20-31), or auto "
        "(as even as the memories of the devices of --arch are fast).",
        metavar="LIST",
    ),
    option(
        "--stage-memory",
        str,
        "With --stages auto: what the weights and the state of each stage may take: 24G,16G.",
        metavar="SIZES",
    ),
    option(
        "--cpu",
        str,
        "What the host's code may use: native (this machine), x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, arm64, "
        "arm64-dotprod or arm64-i8mm.",
        "native",
    ),
    WEIGHTS,
    KV,
    EXPERTS,
    TENSOR_PARALLEL,
    PROFILE,
    CONTEXT,
    SLOTS,
    FORMAT,
    draft("auto"),
    option("--max-rows", int, "Most tokens of one step. [default: 512]", least=1),
    option(
        "--tap",
        str,
        "A value that the plan gives out beside the logits: last_hidden (embeddings), hidden[3].",
        many=True,
    ),
    option(
        "--memory",
        size,
        "Without --ctx: the longest context with which the plan fits, at most what the model was trained for.",
        metavar="SIZE",
    ),
    flag("--print-after-all", "Print the graph after each pass."),
    option(
        "--dump",
        Path,
        "Also write a folder with the graph after each pass and every kernel's source and assembly.",
        metavar="FOLDER",
    ),
    flag("--force", "Write --dump over an older dump."),
    flag("--timings", "Print the seconds that each pass and each other part took."),
    QUIET,
)

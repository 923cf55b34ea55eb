"""Arguments and options that several commands share, with their help texts."""

from __future__ import annotations

from typing import Any

from hfc.cli.usage.declare import PROJECT, USER, Argument, Option, flag, option
from hfc.cli.usage.kinds import tokens

MODEL = Argument(
    "model",
    "A .hfp bundle, a folder, a .gguf file, a name of `hfc list --remote`, or a repository of the hub: hf.co/ORG/REPO[:QUANT].",
)
CONTEXT = option(
    "--ctx -c --ctx-size",
    tokens,
    "Tokens of context: 4096, 32k. [default of run, chat and serve: the model's, as far as memory holds it; of others at most 4096]",
    metavar="N",
    also=("--num-ctx", "--max-model-len"),
    unset=("0",),
    settable=PROJECT,
)
KV = option(
    "--kv",
    str,
    "Format of the KV cache: f16, f32, q8, q4; for keys also fwht4, 3, 2 and asym4, 3, 2 (values then q8). @1+2: the first "
    "layer and the last two in q8. [default: f16]",
    metavar="K[/V][@FIRST+LAST]",
    settable=PROJECT,
)
THREADS = option(
    "--threads -t",
    int,
    "Threads of the host device. [default: all cores]",
    least=1,
    unset=("-1",),
    settable=PROJECT,
    variable="HFC_THREADS",
)
PROFILE = option(
    "--profile",
    str,
    "Precision on GPUs: fast (prompts take one f16 product a weight), exact (pairs of f16), turbo (inputs of products rounded to 8 bits; "
    "what that costs: docs/quality.md); auto: fast on GPUs, exact on CPUs. [default: auto]",
    settable=PROJECT,
)
DEVICE = option(
    "--device --devices",
    str,
    "auto (an AMD card, else an NVIDIA one, else host), hip or cuda (the fastest that holds the model; hip:1 is the second "
    "that `hfc devices` lists), an arch or a part of a card's name, host (this CPU, compiled C), interpret (numpy, slow, "
    "exact), or null (computes nothing; null:ARCH for another plan). "
    "Several with commas between are the stages of a pipeline, or with --tensor-parallel the ranks of a model: hip:0,hip:1 or 0,1; hip:0,host; process:host has a process of its own.",
    "auto",
    settable=PROJECT,
    variable="HFC_DEVICE",
)
WEIGHTS = option(
    "--weights", str, "Where the checkpoint is, if not where the bundle or MODEL says.", metavar="CHECKPOINT"
)
FORMAT = option("--format", str, "Format of the matrices, where MODEL is a config without weights. [default: bf16]")
SLOTS = option(
    "--slots", int, "Sequences that run at a time. [default: 1]", least=1, also=("--parallel", "-np"), settable=PROJECT
)
TRUST = flag("--trust", "Run the code in a bundle that was made on another machine: it can do whatever you can.")
QUIET = flag("--quiet -q", "Print nothing when it works.")
JSON = flag("--json", "Print JSON.", name="as_json")
EXPERTS = option(
    "--experts",
    str,
    "Where the experts of a mixture are computed: device; host (their weights stay in host memory, and the CPU computes them while the "
    "card does the rest); a number N (those of the first N layers on the host); auto (as many of them as the card's memory cannot hold). "
    "[default: device]",
    metavar="WHERE",
    also=("--n-cpu-moe", "-ncmoe"),
    settable=PROJECT,
)


TENSOR_PARALLEL = option(
    "--tensor-parallel -tp",
    int,
    "So many equal devices, 2, 4 or 8, compute every layer together, each with its part of the weights and of the KV cache. [default: 1]",
    least=1,
    metavar="N",
    also=("--tensor-parallel-size",),
    settable=PROJECT,
)


def draft(default: str) -> Option:
    return option(
        "--draft",
        str,
        "Speculative decoding, which changes no token: auto (the draft that belongs to MODEL, and prompt lookup), ngram "
        "(prompt lookup alone), mtp (the head in MODEL's own checkpoint), the folder or file of a draft, off.",
        default,
        also=("--model-draft", "-md"),
        settable=USER,
    )


# How `hfc run` and `hfc chat` load a model.
LOADING = (CONTEXT, KV, PROFILE, THREADS, DEVICE, EXPERTS, TENSOR_PARALLEL, draft("auto"), WEIGHTS, TRUST)


def random_weights(help: str) -> Option:
    return flag("--random-weights", help)


def model(help: str, **more: Any) -> Argument:
    """MODEL where it may be other things than usual."""
    return Argument("model", help, **more)

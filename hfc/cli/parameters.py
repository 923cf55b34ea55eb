"""Arguments and options that several commands share, with their help texts."""

from __future__ import annotations

from typing import Annotated

import typer

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A .hfp bundle, a Hugging Face folder, a .gguf file, or a name of `hfc models`."
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="host (compiled C), hip or cuda (a GPU; hip:1 is the second), interpret (numpy, slow, exact), or null "
        "(computes nothing; null:ARCH for another plan)."
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, help="Threads of the host device. [default: all cores]")
]
Context = Annotated[
    int | None, typer.Option("--ctx", min=1, help="Tokens of context. [default: the model's, at most 4096]")
]
KvFormat = Annotated[
    str | None,
    typer.Option(
        "--kv",
        metavar="K[/V][@FIRST+LAST]",
        help="Format of the KV cache: f16, f32, q8, q4; for keys also fwht4, 3, 2 and asym4, 3, 2 (values then q8). @1+2: the first layer and "
        "the last two in q8. [default: f16]",
    ),
]
Weights = Annotated[str | None, typer.Option(help="Where the checkpoint is, if not where the bundle or MODEL says.")]
Format = Annotated[
    str | None, typer.Option(help="Format of the matrices, where MODEL is a config without weights. [default: bf16]")
]
Draft = Annotated[
    str,
    typer.Option(
        help="Speculative decoding, which changes no token: auto (the draft that belongs to MODEL, and prompt lookup), ngram "
        "(prompt lookup alone), mtp (the head in MODEL's own checkpoint), the folder or file of a draft, off."
    ),
]
Slots = Annotated[int | None, typer.Option(min=1, help="Sequences that run at a time. [default: 1]")]

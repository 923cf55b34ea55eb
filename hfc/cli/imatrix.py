"""`hfc imatrix`: which inputs of a model's weights matter, measured on a text, for `hfc quantize --imatrix` and llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hfc.base.diagnostics import HfcError
from hfc.base.progress import progress_bar
from hfc.calibrate.collect import collect
from hfc.cli.eval import tokens_of
from hfc.cli.open_model import resolve
from hfc.compiler import Source, open_source
from hfc.quality import DEFAULT_CHUNK, chunks
from hfc.quantize.imatrix import write_imatrix
from hfc.runtime.vocabulary import load_vocabulary

DEFAULT_TOKENS = 8192


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A checkpoint, or a name of `hfc models`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .gguf to write.")],
    text: Annotated[
        Path | None, typer.Option("--file", "-f", help="The text, UTF-8. [default: Python's manual, from its library]")
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=2, help="Use the first N tokens of the text.")
    ] = DEFAULT_TOKENS,
    chunk: Annotated[int, typer.Option(min=2, help="Tokens of each separate piece of text.")] = DEFAULT_CHUNK,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing when it works.")] = False,
) -> None:
    """Run a text through the model in float32 and write the mean squares of every weight's inputs."""
    source = open_source(resolve(model).path)
    pieces = calibration_pieces(source, text, tokens, chunk)
    with progress_bar("collecting", "linears") as update:
        found = collect(source, pieces, str(text or "pydoc_data.topics"), update)
    write_imatrix(output, found)
    if not quiet:
        print(f"{output}: {len(found.entries)} weights, {sum(map(len, pieces))} tokens")


def calibration_pieces(source: Source, text: Path | None, tokens: int, chunk: int) -> list[np.ndarray]:
    """The text as pieces of tokens."""
    if source.checkpoint is None:
        raise HfcError(f"{source.path}: there are no weights to run", hint="give a checkpoint")
    tokenizer = load_vocabulary(source.path).tokenizer
    vocab = source.graph().outputs[0].type.shape[-1]
    return chunks(tokens_of(tokenizer, vocab, text, tokens), min(chunk, source.context_limit))

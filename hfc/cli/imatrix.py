"""`hfc imatrix`: which inputs of a model's weights matter, measured on a text, for `hfc quantize --imatrix` and llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.base.progress import progress_bar
from hfc.calibrate.collect import collect
from hfc.cli.eval import tokens_of
from hfc.cli.open_model import resolve
from hfc.compiler import CompilerInput, open_source
from hfc.quality import chunks
from hfc.quantize.imatrix import write_imatrix
from hfc.runtime.vocabulary import load_vocabulary


def command(
    model: str,
    output: Path,
    text: Path | None,
    tokens: int,
    chunk: int,
    quiet: bool,
) -> None:
    """Run a text through the model in float32 and write the mean squares of every weight's inputs."""
    source = open_source(resolve(model).path)
    pieces = calibration_pieces(source, text, tokens, chunk)
    with progress_bar("collecting", "linears") as update:
        found = collect(source, pieces, str(text or "pydoc_data.topics"), update)
    write_imatrix(output, found)
    if not quiet:
        print(f"{output}: {len(found.entries)} weights, {sum(map(len, pieces))} tokens")


def calibration_pieces(source: CompilerInput, text: Path | None, tokens: int, chunk: int) -> list[np.ndarray]:
    """The text as pieces of tokens."""
    if source.checkpoint is None:
        raise HfcError(f"{source.path}: there are no weights to run", hint="give a checkpoint")
    tokenizer = load_vocabulary(source.path).tokenizer
    vocab = source.graph().outputs[0].type.shape[-1]
    return chunks(tokens_of(tokenizer, vocab, text, tokens), min(chunk, source.context_limit))

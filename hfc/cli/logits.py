"""`hfc logits`: teacher-forced logits of given tokens, the door for comparisons."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hfc.base.arrays import read_array
from hfc.base.diagnostics import HfcError
from hfc.base.whole_file import whole_file
from hfc.cli.open_model import ModelChoice, open_model
from hfc.quality import logits_of, rows_at_a_time
from hfc.runtime.decoding.model import Model
from hfc.runtime.generate import check_prompt


def command(
    model: str,
    tokens: Path,
    out: Path,
    step: bool,
    ctx: int | None,
    kv: str | None,
    profile: str | None,
    threads: int | None,
    device: str,
    experts: str | None,
    tensor_parallel: int | None,
    weights: str | None,
    trust: bool,
) -> None:
    """Write the logits that follow each of the given tokens."""
    ids = read_tokens(tokens)
    choice = ModelChoice(
        device,
        threads,
        ctx,
        kv,
        weights,
        trust=trust,
        profile=profile,
        experts=experts,
        tensor_parallel=tensor_parallel,
    )
    opened = open_model(model, choice)
    check_prompt(opened.model, tuple(ids.tolist()))
    write_logits(opened.model, ids, out, 1 if step else None)
    print(f"{out}: float32 [{len(ids)}, {opened.model.vocab}]")


def read_tokens(path: Path) -> np.ndarray:
    """Token ids i32 [T]."""
    ids = read_array(path)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise HfcError(f"{path}: token ids must be integers [T], found {ids.dtype} {list(ids.shape)}")
    return ids


def write_logits(model: Model, tokens: np.ndarray, path: Path, rows: int | None = None) -> None:
    """Run all tokens, `rows` at a time (None: as many as it can); write float32 [T, vocab] whole or not at all."""
    rows, start = rows or rows_at_a_time(model), 0
    with saved_logits(path, (len(tokens), model.vocab)) as logits:
        for found in logits_of(model, np.asarray(tokens, np.int32), rows):
            logits[start : start + len(found)] = found
            start += len(found)


@contextmanager
def saved_logits(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """float32 of this shape to be filled; the .npy file is there, whole, when the block ends.

    A memory map: the logits of a long text with a large vocabulary are larger than the model. Its pages are taken from the disk
    before they are written: a full disk is an error then, and not the end of the process."""
    with whole_file(path, "the logits") as temporary:
        logits = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        if hasattr(os, "posix_fallocate"):
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        yield logits
        logits.flush()

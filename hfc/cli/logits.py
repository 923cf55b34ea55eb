"""`hfc logits`: teacher-forced logits of given tokens, the door for comparisons."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.cli.open_model import Choice, open_model
from hfc.quality import logits_of, rows_at_a_time
from hfc.runtime.generate import Model, check_prompt


def command(
    model: str,
    tokens: Path,
    out: Path,
    step: bool,
    ctx: int | None,
    kv: str | None,
    threads: int | None,
    device: str,
    weights: str | None,
) -> None:
    """Write the logits that follow each of the given tokens."""
    ids = read_tokens(tokens)
    opened = open_model(model, Choice(device, threads, ctx, kv, weights))
    check_prompt(opened.model, tuple(ids.tolist()))
    write_logits(opened.model, ids, out, 1 if step else None)
    print(f"{out}: float32 [{len(ids)}, {opened.model.vocab}]")


def read_tokens(path: Path) -> np.ndarray:
    """Token ids i32 [T]."""
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise HfcError(f"{path}: not an .npy file that can be read: {error}") from error
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        found = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, np.ndarray) else "an archive"
        raise HfcError(f"{path}: token ids must be integers [T], found {found}")
    return ids


def write_logits(model: Model, tokens: np.ndarray, path: Path, rows: int | None = None) -> None:
    """Run all tokens, `rows` at a time (None: as many as it can); write float32 [T, vocab] whole or not at all."""
    rows, start = rows or rows_at_a_time(model), 0
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        # A memory map: the logits of a long text with a large vocabulary are larger than the model.
        logits = np.lib.format.open_memmap(temporary, "w+", np.float32, (len(tokens), model.vocab))
        for found in logits_of(model, np.asarray(tokens, np.int32), rows):
            logits[start : start + len(found)] = found
            start += len(found)
        logits.flush()
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)

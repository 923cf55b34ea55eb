"""A model that is not on this machine yet: fetched, quantized where it comes in 16 bits, with a display of both."""

from __future__ import annotations

import subprocess
import sys
import time

from hfc.base.progress import byte_bar, spinner
from hfc.runtime.hub import fetch
from hfc.runtime.library import FetchedModel, find_record
from hfc.runtime.pull import pull
from hfc.runtime.reference import Reference
from hfc.runtime.source import NotHere, Source, is_ready, source_of


def get_model(missing: NotHere) -> Source:
    """Fetch what `find_source` did not find, and make it ready to open."""
    if missing.reference is None:
        with spinner(f"looking for {missing.entry.name}") as say:
            return Source("checkpoint", pull(missing.entry, report=say).absolute())
    return source_of(make_ready(get_files(missing.reference)))


def get_files(reference: Reference) -> FetchedModel:
    """The files of a repository that the reference means, checked."""
    start, before = time.monotonic(), find_record(reference)
    with byte_bar(f"fetching {reference}") as update:
        record = fetch(reference, update=update)
    revision = f"revision {record.revision[:12]}"
    if before is not None and before.revision != record.revision:
        revision += f", {before.revision[:12]} before"
    _tell(f"{reference}: {record.size_bytes / 1e9:.2f} GB, {revision}, at {record.path}", time.monotonic() - start)
    return record


def make_ready(record: FetchedModel) -> FetchedModel:
    """Quantize it where that was asked for, in a process of its own, so that its memory is gone when the model runs."""
    if is_ready(record):
        return record
    start = time.monotonic()
    words = ["quantize", record.path, "--format", record.format, "-o", str(record.quantized), "--quiet"]
    code = subprocess.run([sys.executable, "-m", "hfc", *words], check=False).returncode
    if code:
        raise SystemExit(code)  # the child has said why
    _tell(f"{record.name}: quantized to {record.format}", time.monotonic() - start)
    return record


def _tell(line: str, seconds: float) -> None:
    print(f"{line} ({seconds:.0f} s)", file=sys.stderr)

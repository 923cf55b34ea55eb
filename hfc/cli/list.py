"""`hfc list`: the models on this machine, or those that have a name."""

from __future__ import annotations

import time

from hfc.cli.table import table
from hfc.runtime.library import records
from hfc.runtime.registry import REGISTRY, RegistryEntry, find_local
from hfc.runtime.source import is_ready, source_of


def command(remote: bool) -> None:
    """List models."""
    print(_named() if remote else _here())


def _here() -> str:
    names = {e.reference: e.name for e in REGISTRY.values() if e.reference}
    rows = [
        (e.name, size_text(e.size_bytes), "", str(path))
        for e in REGISTRY.values()
        if not e.reference and (path := find_local(e))
    ]
    for record in records():
        name = next((n for reference, n in names.items() if str(reference) == record.name), record.name)
        state = "" if is_ready(record) else f" (to be quantized to {record.format})"
        state = state if record.is_whole() else " (files are missing or changed: hfc pull again)"
        age = time.strftime("%Y-%m-%d", time.localtime(record.fetched_s))
        rows.append((name, size_text(record.size_bytes), age, f"{source_of(record).path}{state}"))
    if not rows:
        return "no models yet; `hfc list --remote` shows what has a name, `hfc pull NAME` fetches one"
    return table(("name", "size", "fetched", "path"), rows)


def _named() -> str:
    rows = [
        (e.name, download_text(e), "yes" if find_local(e) else "", e.license or "-", e.summary)
        for e in REGISTRY.values()
    ]
    return table(("name", "download", "here", "license", "model"), rows)


def download_text(entry: RegistryEntry) -> str:
    return size_text(entry.download_bytes) if entry.download_bytes else "-"


def size_text(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"

"""`hfc models`: the registry."""

from __future__ import annotations

from hfc.cli.table import table
from hfc.runtime.registry import REGISTRY, find_local


def command() -> None:
    """List the models that have a name, and where they are on this machine."""
    rows = [
        (
            entry.name,
            entry.summary,
            f"{entry.size_bytes / 1e6:.0f} MB",
            entry.license,
            str(find_local(entry) or "not here yet"),
        )
        for entry in REGISTRY.values()
    ]
    print(table(("name", "model", "size", "license", "file"), rows))

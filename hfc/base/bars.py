"""The displays of hfc.base.progress, drawn by rich, which takes a quarter of a second to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def count_bar(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """ "loading ━━━━ 120/272 weights" """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    ]
    with _display(columns) as display:
        task = display.add_task(what, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


@contextmanager
def byte_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """ "fetching org/name ━━━━ 1.2/5.3 GB 45 MB/s 0:01:31" """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with _display(columns) as display:
        task = display.add_task(what, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """A moving sign and a text that changes."""
    with _display([SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]) as display:
        task = display.add_task(what, total=None)
        yield lambda text: display.update(task, description=text)


def _display(columns: list) -> Progress:
    return Progress(*columns, console=Console(stderr=True), transient=True)

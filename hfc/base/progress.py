"""Bars and lines on stderr while it is a terminal; nothing when it is a file or a pipe."""

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

Update = Callable[[int, int], None]  # done, total


@contextmanager
def progress_bar(what: str, unit: str) -> Iterator[Update]:
    """A bar, gone when the work is done: "loading ━━━━ 120/272 weights". Call what it yields with done, total."""
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
def byte_bar(what: str) -> Iterator[Update]:
    """A bar of bytes: "fetching org/name ━━━━ 1.2/5.3 GB 45 MB/s 0:01:31". Call what it yields with done, total."""
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
    """A moving sign for work of unknown length. Call what it yields with a new text."""
    with _display([SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]) as display:
        task = display.add_task(what, total=None)
        yield lambda text: display.update(task, description=text)


def _display(columns: list) -> Progress:
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

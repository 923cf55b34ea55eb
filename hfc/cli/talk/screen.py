"""An answer as it streams: Markdown block by block, the thought folded into one line."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

FENCES = ("```", "~~~")


class Screen:
    """A context manager around one answer. Whole blocks are printed for good; only the last one, which grows, is drawn again."""

    def __init__(self, console: Console):
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=8, vertical_overflow="visible")
        self._held = ""
        self._thought = ""
        self._thinking_since: float | None = None

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fold()
        self._live.update(Text(""), refresh=True)
        self._live.stop()
        self._print(self._held)

    def think(self, text: str) -> None:
        if self._thinking_since is None:
            self._thinking_since = time.monotonic()
        self._thought += text
        self._live.update(Text(f"thinking: {len(self._thought.split())} words", style="dim"))

    def write(self, text: str) -> None:
        self._fold()
        self._held += text
        done, self._held = split_blocks(self._held)
        self._print(done)
        self._live.update(Markdown(self._held))

    def _fold(self) -> None:
        if self._thinking_since is not None:
            seconds, words = time.monotonic() - self._thinking_since, len(self._thought.split())
            self._thinking_since = None
            self._console.print(Text(f"thought for {seconds:.1f} s, {words} words (/thought shows them)", style="dim"))

    def _print(self, text: str) -> None:
        if text.strip():
            self._console.print(Markdown(text))


def split_blocks(text: str) -> tuple[str, str]:
    """What is finished, up to the last empty line outside of a fence, and the block that may still grow."""
    fence, cut, at = "", 0, 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        mark = line.lstrip()[:3]
        if mark in FENCES and (not fence or mark == fence):
            fence = "" if fence else mark
        if not fence and not line.strip() and line.endswith("\n"):
            cut = at
    return text[:cut], text[cut:]

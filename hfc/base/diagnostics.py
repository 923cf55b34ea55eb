"""User errors: where, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hfc.base.dataclass import dataclass

NEARLY = 0.2  # of likeness: a name that is less like by more than this is no suggestion beside the nearest


@dataclass(frozen=True)
class Span:
    """A place in a source text. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    length: int = 1
    text: str = ""  # the whole source line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class HfcError(Exception):
    """An error that the user can act on. `str(error)` is the whole message, with the source line and a caret if known."""

    def __init__(self, message: str, span: Span | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.span}: error: {self.message}" if self.span else f"error: {self.message}"]
        if self.span and self.span.text:
            caret = " " * (self.span.column - 1) + "^" * max(1, self.span.length)
            lines += [f"  {self.span.text}", f"  {caret}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class DeviceLost(HfcError):
    """A device that failed in the middle of its work: the request is over, and so is everything in the device's memory."""


def unknown(what: str, name: str, known: Iterable[str], span: Span | None = None) -> HfcError:
    """The error for a name that is not in `known`: suggests the nearest, else lists all."""
    choices = sorted(str(k) for k in known)
    near = suggestions(str(name), choices)
    hint = f"did you mean {one_of(near)}?" if near else "known: " + (", ".join(choices) or "none")
    return HfcError(f"unknown {what} {name!r}", span, hint)


def suggestions(name: str, known: Iterable[str], likeness: float = 0.6) -> list[str]:
    """At most three names that may be meant: those with all words of `name`, the shortest first; else the nearest, none much further
    than it."""
    known, words = list(known), _words(name)
    if longer := [other for other in known if words and words < _words(other)]:
        return sorted(longer, key=lambda other: (len(other), other))[:3]
    near = nearest(name, known, 3, likeness)
    found = [difflib.SequenceMatcher(None, other.lower(), name.lower()).ratio() for other in near]
    return [other for other, like in zip(near, found) if like > found[0] - NEARLY]


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", name.lower()) if word}


def nearest(name: str, known: Iterable[str], most: int = 1, likeness: float = 0.6) -> list[str]:
    """Names that are spelled much like `name`, the nearest first. likeness: from 0 to 1, of difflib."""
    spelled = {choice.lower(): choice for choice in known}
    return [spelled[found] for found in difflib.get_close_matches(name.lower(), spelled, n=most, cutoff=likeness)]


def one_of(names: list[str]) -> str:
    """ "'a', 'b' or 'c'" """
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def reason_of(error: Exception) -> str:
    """What went wrong, without the number and the path that an OSError repeats."""
    return getattr(error, "strerror", None) or str(error)

"""The keys of a server's clients, from a file, the environment or the command line, and kept out of the list of processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hfc.base.diagnostics import HfcError

VARIABLE = "HFC_API_KEY"  # keys with spaces between; only the same user can read a process's environment
OPTION = "--api-key"


def api_keys(given: Sequence[str] | None, file: Path | None, first: Sequence[str] = ()) -> tuple[str, ...]:
    """Every key once, of all places. first: those whose requests may go first."""
    of_file = [*(keys_of("--api-key-file", file) if file else []), *first]
    if any(not key.strip() for key in given or ()):
        raise HfcError("an API key is empty")
    return tuple(dict.fromkeys([*(given or ()), *of_file, *os.environ.get(VARIABLE, "").split()]))


def hide_keys(given: Sequence[str] | None) -> None:
    """Start the same command again without the keys that stand in it: they go on in the environment. Returns where there are none."""
    words = without_keys(sys.argv[1:])
    if given and words != sys.argv[1:]:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "hfc", *words], environment(given))


def environment(keys: Sequence[str]) -> dict[str, str]:
    """This process's, with keys for a child."""
    return {**os.environ, VARIABLE: " ".join(dict.fromkeys([*os.environ.get(VARIABLE, "").split(), *keys]))}


def without_keys(words: Sequence[str]) -> list[str]:
    """The words of a command line less every --api-key and its value."""
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*kept, word, *left]
        if word == OPTION:
            del left[:1]
        elif not word.startswith(f"{OPTION}="):
            kept.append(word)
    return kept


def keys_of(option: str, file: Path) -> list[str]:
    """Of the file that an option names."""
    try:
        keys = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise HfcError(f"{option} {file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not keys:
        raise HfcError(f"{file}: there is no key in it")
    return keys

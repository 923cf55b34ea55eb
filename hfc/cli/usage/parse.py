"""Words of a command line to the values of a command's parameters.

Not argparse: until Python 3.13 it cannot take arguments among options (`hfc run MODEL --raw PROMPT`), and not click, whose
import takes longer than a command's help may."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfc.base.diagnostics import HfcError, unknown
from hfc.base.path_text import typed_path
from hfc.cli.usage.declare import Argument, CommandUsage, Option
from hfc.cli.usage.familiar import FAMILIAR

HELP = ("-h", "--help")


class HelpWanted(Exception):
    """The words ask for the command's help."""


def parse(
    command: str, usage: CommandUsage, words: Sequence[str], settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Parameter name -> value: of the words, else of the settings, else the default. Raises HfcError, or HelpWanted."""
    return with_defaults(command, usage, (settings or {}) | given_values(command, usage, words))


def given_values(command: str, usage: CommandUsage, words: Sequence[str]) -> dict[str, Any]:
    """Only what stands in the words. After `--` everything is an argument."""
    by_flag = {name: o for o in usage.options for name in (*o.flags, *o.also)}
    given: dict[str, Any] = {}
    free: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            free += left
            break
        if word == "-" or not word.startswith("-"):
            free.append(word)
            continue
        flag, value, rest = _split(word, by_flag)
        if flag in HELP:
            raise HelpWanted
        if flag not in by_flag and flag in FAMILIAR:
            given |= _familiar(command, usage, flag, value, left)
            continue
        if flag.startswith("--no-") and (found := by_flag.get(f"--{flag[5:]}")) and found.is_flag and found.settable:
            given[found.parameter] = False
            continue
        if flag not in by_flag:
            raise _no_such(command, flag, by_flag)
        found = by_flag[flag]
        if found.is_flag:
            if value is not None:
                raise HfcError(f"{flag}: takes no value, found {value!r}")
            given[found.parameter] = True
            left[:0] = rest
            continue
        if value is None:
            if not left:
                raise HfcError(f"{flag}: a value is missing", hint=f"{flag} {metavar(found)}: {found.help}")
            value = left.pop(0)
        converted = found.default if value in found.unset else convert(found, value, flag)
        if found.many:
            given.setdefault(found.parameter, []).append(converted)
        else:
            given[found.parameter] = converted
    return given | _arguments(command, usage, free, given)


def with_defaults(command: str, usage: CommandUsage, given: dict[str, Any]) -> dict[str, Any]:
    values = {o.parameter: o.default for o in usage.options} | {a.name: a.default for a in usage.arguments} | given
    for found in usage.options:
        if found.required and values[found.parameter] is None:
            raise HfcError(f"hfc {command}: {found.flags[0]} is missing", hint=f"{found.flags[0]}: {found.help}")
    for found in usage.options:
        if found.into:
            values.setdefault(found.into, {})[found.parameter] = values.pop(found.parameter)
    return values


def convert(found: Option | Argument, text: str, where: str) -> Any:
    """The value of a word. where: what an error begins with."""
    try:
        value = typed_path(text) if found.kind is Path else found.kind(text)
    except ValueError as error:
        wanted = {int: "a whole number", float: "a number"}.get(found.kind, str(error))
        raise HfcError(f"{where} {text}: expected {wanted}", hint=f"{where}: {found.help}") from None
    if isinstance(found, Option):
        _check_range(found, value, f"{where} {text}")
    return value


def metavar(found: Option) -> str:
    return found.metavar or {int: "N", float: "X"}.get(found.kind, found.flags[0].lstrip("-").upper())


def _check_range(found: Option, value: Any, where: str) -> None:
    if found.least is not None and not value >= found.least:  # NaN is not either
        raise HfcError(f"{where}: expected at least {found.least:g}")
    if found.most is not None and not value <= found.most:
        raise HfcError(f"{where}: expected at most {found.most:g}")


def _split(word: str, by_flag: dict[str, Option]) -> tuple[str, str | None, list[str]]:
    """A word to its flag, the value in it, and the words that stand for what is left: `-n5`, `--ctx=5`, `-dq`."""
    if word in by_flag or word in HELP or word in FAMILIAR:
        return word, None, []
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag, value if equals else None, []
    flag, rest = word[:2], word[2:]
    if flag not in by_flag or not rest:
        return word, None, []
    if by_flag[flag].is_flag:
        return flag, None, [f"-{rest}"]
    return flag, rest.removeprefix("="), []


def _no_such(command: str, flag: str, by_flag: dict[str, Option]) -> HfcError:
    error = unknown("option", flag, by_flag)
    if "did you mean" in str(error.hint):
        return HfcError(f"hfc {command}: {error.message}", hint=error.hint)
    return HfcError(
        f"hfc {command}: {error.message}",
        hint=f"hfc {command} --help lists the options; words that begin with - go after --",
    )


def _familiar(command: str, usage: CommandUsage, flag: str, value: str | None, left: list[str]) -> dict[str, Any]:
    """A flag from another program: a note, an argument, or a refusal that says what to do."""
    row = FAMILIAR[flag]
    if row.argument and row.argument not in (a.name for a in usage.arguments):
        raise _no_such(command, flag, {f: o for o in usage.options for f in o.flags})
    if row.is_refused:
        raise HfcError(f"hfc {command} has no {flag}", hint=row.instead)
    values = [] if value is None else [value]
    while len(values) < row.words and left:
        values.append(left.pop(0))
    if len(values) < row.words:
        raise HfcError(f"{flag}: a value is missing")
    if flag in ("-fa", "--flash-attn") and left and left[0] in ("on", "off", "auto", "0", "1"):
        left.pop(0)
    if not row.argument:
        print(f"note: {flag}: {row.instead}", file=sys.stderr)
        return {}
    found = next(a for a in usage.arguments if a.name == row.argument)
    return {found.name: [values[0]] if found.many else convert(found, values[0], flag)}


def _arguments(command: str, usage: CommandUsage, free: list[str], named: dict[str, Any]) -> dict[str, Any]:
    """named: those that a flag of another program has given."""
    given: dict[str, Any] = {}
    for found in usage.arguments:
        if found.name in named:
            continue
        if found.many and free:
            given[found.name] = [convert(found, word, found.label) for word in free]
            free = []
        elif found.joined and free:
            given[found.name] = convert(found, " ".join(free), found.label)
            free = []
        elif free:
            given[found.name] = convert(found, free.pop(0), found.label)
        elif found.required:
            raise HfcError(f"hfc {command}: {found.label} is missing", hint=f"{found.label}: {found.help}")
    if free:
        raise HfcError(
            f"hfc {command}: one word too many: {free[0]!r}", hint='quotes make several words one: "like this"'
        )
    return given

"""A command's arguments and options as data, from which parsing and help follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class Argument:
    """A word without a flag. many: it takes all words that are left; its value is then a list.  joined: it takes them as one
    text, a space between two: what a shell made of a sentence without quotes."""

    name: str
    help: str
    metavar: str = ""
    kind: Callable[[str], Any] = str
    required: bool = True
    many: bool = False
    joined: bool = False

    @property
    def default(self) -> None:
        return None

    @property
    def label(self) -> str:
        text = self.metavar or self.name.upper()
        return (text if self.required else f"[{text}]") + "..." * (self.many or self.joined)


@dataclass(frozen=True)
class Option:
    """flags: how it is written, the name of its parameter first.  kind: what makes a value of a word, or raises ValueError.

    many: it may be given more than once, and its value is a list, or None.  least, most: of a number.
    also: names from other programs that are accepted.  settable: which hfc.toml may set it: any ("project"), the user's own
    ("user"), none ("").  variable: the environment variable that sets it, a row of KNOBS.
    unset: words of other programs that choose nothing: `-n -1`, `-c 0`.
    into: the command takes all options with this word as one mapping of this name, and its help lists them under it.
    """

    flags: tuple[str, ...]
    help: str
    kind: Callable[[str], Any] = str
    default: Any = None
    name: str = ""
    metavar: str = ""
    many: bool = False
    required: bool = False
    least: float | None = None
    most: float | None = None
    also: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    settable: str = ""
    variable: str = ""
    into: str = ""

    @property
    def key(self) -> str:
        """How hfc.toml calls it: the first long flag without its dashes."""
        return next((f for f in self.flags if f.startswith("--")), self.flags[0]).lstrip("-")

    @property
    def parameter(self) -> str:
        return self.name or self.flags[0].lstrip("-").replace("-", "_")

    @property
    def is_flag(self) -> bool:
        return self.kind is bool


@dataclass(frozen=True)
class CommandUsage:
    """What a command takes. help: its first paragraph is the text above the lists."""

    help: str
    parameters: tuple[Argument | Option, ...] = ()

    @property
    def arguments(self) -> list[Argument]:
        return [p for p in self.parameters if isinstance(p, Argument)]

    @property
    def options(self) -> list[Option]:
        return [p for p in self.parameters if isinstance(p, Option)]

    @property
    def taken(self) -> list[str]:
        """The parameters of the command's function, in order."""
        names = [p.name if isinstance(p, Argument) else p.into or p.parameter for p in self.parameters]
        return list(dict.fromkeys(names))


# A file in the folder where somebody works may come from anybody: it must not choose what runs, what is read or who is let in.
PROJECT, USER = "project", "user"


def usage(help: str, *parameters: Argument | Option) -> CommandUsage:
    return CommandUsage(help, parameters)


def option(flags: str, kind: Callable[[str], Any], help: str, default: Any = None, **more: Any) -> Option:
    """`option("--port -p", int, "0: any that is free.", 11435, least=0, most=65535)`."""
    return Option(tuple(flags.split()), help, kind, default, **more)


def flag(flags: str, help: str, **more: Any) -> Option:
    """An option without a value: True where it stands."""
    return Option(tuple(flags.split()), help, bool, False, **more)

"""Settings from files and the environment: ~/.config/hfc/hfc.toml, ./hfc.toml and the table of knobs to option values.

    device = "hip:1"        # an option by its long name, for every command that has it
    cache = "/data/hfc"     # an environment variable of the table: HFC_CACHE (the user's own file only)
    [serve]                 # for one command
    slots = 8

Later places win: default, the user's file, the project's file, environment, flag."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.base.knobs import KNOBS
from hfc.base.orphans import PARENT
from hfc.base.toml import read_toml
from hfc.cli.commands import COMMANDS, module_of, settings_files
from hfc.cli.usage.declare import PROJECT, USER, Option
from hfc.cli.usage.parse import convert

OF_NO_FILE = {"config"}  # knobs that say where the files are
OF_BUNDLES = {
    "ctx",
    "kv",
    "slots",
}  # decided when a bundle was compiled; only a flag asks for them again, and is refused


@dataclass(frozen=True)
class Setting:
    """A value and where it came from: a path, or the name of a variable."""

    value: Any
    origin: str


def variables() -> dict[str, Setting]:
    """Environment variables of the table that the user's file sets and the environment does not."""
    found = {}
    for path, kind in _files():
        data = _checked(path, kind)
        for key, value in data.items():
            name = f"HFC_{key.upper()}"
            if kind == USER and name in KNOBS and not _options_by_key(key) and not os.environ.get(name):
                found[name] = Setting(str(value), str(path))
    return found


def settings_of(command: str, words: Sequence[str] = ()) -> dict[str, Setting]:
    """Parameter -> the value that files and environment give an option of a command. words: of its command line."""
    # `hfc compile` writes a bundle. As a child it is told of these what its parent has read for its own command.
    is_decided = PARENT in os.environ if command == "compile" else any(word.endswith(".hfp") for word in words)
    decided = OF_BUNDLES if is_decided else ()
    options = {o.key: o for o in _usage(command).options if o.settable and o.key not in decided}
    found: dict[str, Setting] = {}
    for path, kind in _files():
        data = _checked(path, kind)
        for table in (data, data.get(command, {})):
            for key, value in table.items():
                if option := options.get(_key(key)):
                    found[option.parameter] = Setting(_converted(option, value, f"{path}: {key}"), str(path))
    for option in options.values():
        if option.variable and (text := os.environ.get(option.variable)):
            found[option.parameter] = Setting(convert(option, text, option.variable), option.variable)
    return found


def _files() -> list[tuple[Path, str]]:
    """The files that are there, the user's first."""
    return [(Path(path), kind) for path, kind in settings_files() if Path(path).is_file()]


def _checked(path: Path, kind: str) -> dict[str, Any]:
    """The file's content. HfcError for a key that is no setting, or that a project's file may not set."""
    data = read_toml(path)
    for key, value in data.items():
        if isinstance(value, dict):
            if key not in COMMANDS:
                raise unknown(f"command in {path}:", key, COMMANDS)
            known = {o.key: o for o in _usage(key).options if o.settable}
            for name in value:
                _check_key(path, kind, name, [known[_key(name)]] if _key(name) in known else [], known)
            continue
        knobs = [] if key in OF_NO_FILE else [k for k in KNOBS if k == f"HFC_{key.upper()}"]
        _check_key(path, kind, key, _options_by_key(key) or knobs, [*_all_keys(), *(k[4:].lower() for k in KNOBS)])
    return data


def _check_key(path: Path, kind: str, key: str, found: list, known: Any) -> None:
    if not found:
        raise unknown(f"setting in {path}:", key, known)
    if kind == PROJECT and not all(isinstance(o, Option) and o.settable == PROJECT for o in found):
        raise HfcError(
            f"{path}: {key} cannot be set by the file of a folder, which may be anybody's",
            hint=f"set it in your own {settings_files()[0][0]}, by its variable or flag",
        )


def _converted(option: Option, value: Any, where: str) -> Any:
    if option.is_flag:
        if not isinstance(value, bool):
            raise HfcError(f"{where}: expected true or false, found {value!r}")
        return value
    if option.many:
        values = value if isinstance(value, list) else [value]
        return [convert(option, str(v), where) for v in values]
    if isinstance(value, (bool, list, dict)):
        raise HfcError(f"{where}: expected one value, found {value!r}", hint=option.help)
    return convert(option, str(value), where)


def _key(name: str) -> str:
    return name.replace("_", "-")


def _usage(command: str):
    return importlib.import_module(f"hfc.cli.usage.{module_of(command)}").USAGE


@cache
def _all_keys() -> tuple[str, ...]:
    return tuple(dict.fromkeys(o.key for name in COMMANDS for o in _usage(name).options if o.settable))


def _options_by_key(key: str) -> list[Option]:
    return [o for name in COMMANDS for o in _usage(name).options if o.settable and o.key == _key(key)]

"""`hfc config`: every setting with its value and where it came from."""

from __future__ import annotations

import importlib
import os

from hfc.base.diagnostics import unknown
from hfc.base.knobs import KNOBS
from hfc.cli.commands import COMMANDS, module_of, settings_files
from hfc.cli.settings import settings_of, variables
from hfc.cli.table import table

ACTIONS = ("show", "path")


def command(action: str | None, of: str | None) -> None:
    action = action or "show"
    if action not in ACTIONS:
        raise unknown("action", action, ACTIONS)
    if of is not None and of not in COMMANDS:
        raise unknown("command", of, COMMANDS)
    if action == "path":
        for path, kind in settings_files():
            print(f"{kind:8} {path}{'' if os.path.isfile(path) else ' (not there)'}")
        return
    rows = [row for name in ([of] if of else COMMANDS) for row in option_rows(name)]
    print(table(("command", "setting", "value", "from"), rows if of else _joined(rows)))
    if not of:
        print()
        print(table(("variable", "value", "from", "effect"), variable_rows()))


def option_rows(command: str) -> list[tuple[str, str, str, str]]:
    """command, setting, value, origin of each option that a file may set."""
    options = importlib.import_module(f"hfc.cli.usage.{module_of(command)}").USAGE.options
    found = settings_of(command)
    rows = []
    for option in filter(lambda o: o.settable, options):
        setting = found.get(option.parameter)
        value = setting.value if setting else option.default
        rows.append(
            (command, option.key, "-" if value is None else str(value), setting.origin if setting else "default")
        )
    return rows


def variable_rows() -> list[tuple[str, str, str, str]]:
    """Every environment variable of the table."""
    from_file = variables()
    rows = []
    for name, knob in KNOBS.items():
        text = os.environ.get(name)
        setting = from_file.get(name)
        value = text or (setting.value if setting else knob.default)
        origin = "environment" if text else setting.origin if setting else "default"
        shown = "-" if value is None else "(set)" if name.endswith("_KEY") else str(value)
        rows.append((name, shown, origin, knob.effect))
    return rows


def _joined(rows: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    """One row for commands that agree on a setting."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for command, *rest in rows:
        groups.setdefault(tuple(rest), []).append(command)
    joined = [(", ".join(commands), *rest) for rest, commands in groups.items()]
    return sorted(joined, key=lambda row: (row[1], row[0]))

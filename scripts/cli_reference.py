#!/usr/bin/env python3
"""The site's page of commands from the program's own tables; scripts/site_hooks.py adds it to every build."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from hfc.base.knobs import KNOBS
from hfc.cli.commands import GROUPS, module_of
from hfc.cli.usage.declare import Argument, CommandUsage, Option
from hfc.cli.usage.parse import metavar


def page() -> str:
    parts = [
        "# Commands\n\nWritten from what the program itself reads. `hfc COMMAND --help` says the same. A value in"
        " brackets is the default; *project* and *user* say which [hfc.toml](settings.md) may set an option.\n"
    ]
    for title, group in GROUPS.items():
        parts.append(f"## {title}\n")
        for command in group:
            usage = importlib.import_module(f"hfc.cli.usage.{module_of(command.name)}").USAGE
            parts.append(section(command.name, command.summary, usage))
    parts.append("## Environment variables\n\n| variable | what it does |\n|---|---|")
    parts += [f"| `{name}` | {cell(knob.effect)} |" for name, knob in sorted(KNOBS.items())]
    return "\n".join(parts) + "\n"


def section(name: str, summary: str, usage: CommandUsage) -> str:
    words = " ".join(["hfc", name, *(["[OPTIONS]"] if usage.options else []), *(a.label for a in usage.arguments)])
    lines = [f"### hfc {name}\n", f"{summary}.\n", f"`{words}`\n"]
    if usage.parameters:
        lines += ["| | | |", "|---|---|---|"]
        lines += [row(p) for p in usage.parameters]
        lines.append("")
    return "\n".join(lines)


def row(found: Argument | Option) -> str:
    if isinstance(found, Argument):
        return f"| `{found.label}` | {cell(found.help)} | |"
    flags = ", ".join(f"`{flag}`" for flag in (*found.flags, *found.also))
    value = "" if found.is_flag else f" {cell(metavar(found))}"
    default = "" if found.default in (None, False) else f" [{found.default}]"
    needed = " Required." if found.required else ""
    return f"| {flags}{value} | {cell(found.help)}{needed}{default} | {found.settable} |"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")

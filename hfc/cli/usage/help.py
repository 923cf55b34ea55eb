"""A command's `Usage` as the text of its --help."""

from __future__ import annotations

import shutil
import textwrap

from hfc.cli.usage.declare import Argument, CommandUsage, Option
from hfc.cli.usage.parse import metavar

WIDEST, MARGIN = 100, 26


def help_text(command: str, usage: CommandUsage) -> str:
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    words = " ".join(["hfc", command, "[OPTIONS]", *(a.label for a in usage.arguments)])
    parts = [f"Usage: {words}", *(_paragraph(p, width) for p in usage.help.split("\n\n"))]
    if usage.arguments:
        parts.append("Arguments:\n" + "\n".join(_row(a.label, _describe(a), width) for a in usage.arguments))
    groups: dict[str, list[str]] = {"options": []}
    for found in usage.options:
        groups.setdefault(found.into or "options", []).append(_row(_names(found), _describe(found), width))
    groups["options"].append(_row("-h, --help", "Show this text.", width))
    parts += [f"{name.capitalize()}:\n" + "\n".join(rows) for name, rows in groups.items()]
    return "\n\n".join(parts) + "\n"


def _names(found: Option) -> str:
    flags = sorted(found.flags, key=lambda flag: (len(flag) > 2, found.flags.index(flag)))
    return ", ".join(flags) + ("" if found.is_flag else f" {metavar(found)}")


def _describe(found: Argument | Option) -> str:
    notes = []
    if isinstance(found, Option) and found.required:
        notes.append("[required]")
    if found.default is not None and found.default is not False:
        notes.append(f"[default: {found.default}]")
    return " ".join([found.help, *notes])


def _paragraph(text: str, width: int) -> str:
    return textwrap.fill(" ".join(text.split()), width, initial_indent="  ", subsequent_indent="  ")


def _row(left: str, right: str, width: int) -> str:
    """The names, and beside or below them what they do."""
    lines = textwrap.wrap(right, max(20, width - MARGIN), break_on_hyphens=False)
    head = f"  {left}"
    if len(head) + 2 > MARGIN:
        return "\n".join([head, *(" " * MARGIN + line for line in lines)])
    return "\n".join([f"{head:{MARGIN}}{lines[0]}", *(" " * MARGIN + line for line in lines[1:])])

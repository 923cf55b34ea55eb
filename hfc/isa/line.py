"""One instruction as LLVM prints it, split into operands and modifiers."""

from __future__ import annotations

import re

from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class Line:
    """One instruction. operands and modifiers as LLVM prints them; words: its encoding; source: "file:line" or ""."""

    address: int
    name: str
    operands: tuple[str, ...]
    modifiers: dict[str, str]
    words: tuple[int, ...]
    text: str
    source: str = ""

    @property
    def base(self) -> str:
        """The name without its encoding."""
        return re.sub(r"_(e32|e64|e64_dpp|dpp|sdwa)$", "", self.name)


def line_of(address: int, text: str, words: tuple[int, ...], source: str) -> Line:
    """An instruction's text taken apart. Dual-issue pairs stay whole."""
    name, _, rest = text.partition(" ")
    operands, modifiers = ((), {}) if "::" in text else split_operands(rest)
    return Line(address, name, operands, modifiers, words, text, source)


def split_operands(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """ "v0, -v1, s2 clamp op_sel:[1,0]" -> (("v0", "-v1", "s2"), {"clamp": "", "op_sel": "[1,0]"})."""
    operands, modifiers = [], {}
    for part in _split(text, ","):
        for i, token in enumerate(_split(part, " ")):
            if i == 0 and not re.match(r"[a-z0-9_]+:", token):
                operands.append(token)
            else:
                key, _, value = token.partition(":")
                modifiers[key] = value
    return tuple(operands), modifiers


def _split(text: str, separator: str) -> list[str]:
    """Split outside brackets and quotes."""
    parts, depth, quoted, current = [], 0, False, ""
    for character in text:
        quoted ^= character == '"'
        depth += (character in "[(") - (character in "])")
        if character == separator and not depth and not quoted:
            parts.append(current)
            current = ""
        else:
            current += character
    return [p.strip() for p in [*parts, current] if p.strip()]

"""Kinds of values that words on the command line may have, beside int, float, str and Path."""

from __future__ import annotations

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


def tokens(text: str) -> int:
    """ "4096" -> 4096, "32k" -> 32768."""
    number = text.strip().lower()
    unit = number[-1:] if number[-1:] in UNITS else ""
    number = number.removesuffix(unit)
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ValueError("a number of tokens like 4096 or 32k")
    return int(number) * UNITS[unit]

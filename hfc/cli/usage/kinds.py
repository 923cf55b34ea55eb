"""Kinds of values that words on the command line may have, beside int, float, str and Path."""

from __future__ import annotations

import re

SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


def tokens(text: str) -> int:
    """ "4096" -> 4096, "32k" -> 32768."""
    number = text.strip().lower()
    unit = number[-1:] if number[-1:] in UNITS else ""
    number = number.removesuffix(unit)
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ValueError("a number of tokens like 4096 or 32k")
    return int(number) * UNITS[unit]


def switch(text: str) -> bool:
    """ "on" -> True, "off" -> False."""
    found = {"on": True, "true": True, "off": False, "false": False}.get(text.strip().lower())
    if found is None:
        raise ValueError("on or off")
    return found


def size(text: str) -> int:
    """ "24G" -> 25769803776, "24" the same (nobody has a card of 24 bytes), "196608M"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if not match:
        raise ValueError("a size like 24G or 196608M")
    unit = match[2] or ("g" if float(match[1]) < 1024 else "")
    return int(float(match[1]) * SIZES[unit])

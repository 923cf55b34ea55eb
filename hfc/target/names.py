"""A word that is no architecture -> the error that says which one is meant; the name of a card gets its architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hfc.base.diagnostics import HfcError, unknown

SHORTEST = 4  # letters of a card's name that say something: "7900"


def no_such_arch(name: str, products: Mapping[str, Iterable[str]]) -> HfcError:
    """products: arch -> names of its cards."""
    meant = _letters(name)
    cards = [(card, arch) for arch, names in products.items() for card in names]
    found = [
        row for row in cards if len(meant) >= SHORTEST and (meant in _letters(row[0]) or _letters(row[0]) in meant)
    ]
    if not found:
        return unknown("architecture", name, products)
    return HfcError(f"unknown architecture {name!r}", hint="; ".join(f"{card} is {arch}" for card, arch in found))


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())

"""Cards by name, as `hfc predict --card` takes them."""

from __future__ import annotations

from dataclasses import replace

from hfc.base.diagnostics import unknown
from hfc.predict.launch import Site, site_of
from hfc.target.arch import AMD, Arch, CardSpec, find_arch
from hfc.target.timing import timing_of

CARDS: dict[str, tuple[Arch, CardSpec]] = {card.name: (arch, card) for arch in AMD for card in arch.cards}


def find_cards(name: str) -> list[tuple[Arch, CardSpec]]:
    """The card, or all of an architecture. HfcError with the nearest name."""
    found = [pair for known, pair in CARDS.items() if known.lower() == name.lower()]
    if found:
        return found
    if name in {arch.name for arch in AMD}:
        arch = find_arch(name)
        return [(arch, card) for card in arch.cards]
    raise unknown("card", name, [*CARDS, *(arch.name for arch in AMD)])


def described(arch: Arch, card: CardSpec, units: int | None, ghz: float | None, gb_s: float | None) -> Site:
    """The card's site, or that of another card of its kind. units: CUs."""
    site = site_of(arch, card)
    return replace(
        site,
        units=max(1, units // timing_of(arch).compute_units) if units else site.units,
        ghz=ghz or site.ghz,
        gb_s=gb_s or site.gb_s,
    )

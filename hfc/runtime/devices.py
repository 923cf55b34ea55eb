"""The cards of this machine, and which of them a --device means."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, suggestions, unknown
from hfc.runtime.cuda_library import NO_DRIVER, has_cuda_library
from hfc.runtime.driver import DeviceInfo
from hfc.runtime.hip_library import find_hip_library
from hfc.target.arch import ARCHS, GENERIC

AUTO = "auto"
OTHERS = ("host", "null", "interpret")  # devices that are no cards
ALSO = {"cpu": "host", "rocm": "hip", "nvidia": "cuda"}  # as other programs call them
ANY_CARD = "gpu"
GIB = 1 << 30
ROWS = {**ARCHS, **GENERIC}
MATRIX_UNITS = 1.5  # what they are worth beside memory speed, for prompts: a 7900 XTX comes before a MI50


@dataclass(frozen=True)
class Card:
    """A card as one runtime knows it. kind: "hip" or "cuda"."""

    kind: str
    info: DeviceInfo

    @property
    def device(self) -> str:
        return f"{self.kind}:{self.info.index}"

    @property
    def label(self) -> str:
        return f"{self.device} {self.info.name} ({self.info.arch}, {self.info.memory_bytes / GIB:.1f} GiB)"

    @property
    def speed(self) -> tuple[bool, float]:
        """What chatting goes by: memory speed, from the arch's best known product and the share of its units, and matrix units."""
        row = ROWS.get(self.info.arch)
        if row is None or not row.cards:
            return not self.info.is_integrated, 0.0
        product = max(row.cards, key=lambda card: card.compute_units)
        gb_s = product.bandwidth_gb_s * self.info.compute_units / product.compute_units
        has_matrix_units = any(re.match("wmma|mfma|mma", feature) for feature in row.features)
        return not self.info.is_integrated, gb_s * (MATRIX_UNITS if has_matrix_units else 1)


@dataclass(frozen=True)
class Found:
    """cards: all that a runtime knows.  missing: kind -> why it has none."""

    cards: tuple[Card, ...]
    missing: dict[str, str]


@dataclass(frozen=True)
class Chosen:
    """device: "hip:0", "host", …  text: which it is; reasons: why not the others. Both for the line that auto prints."""

    device: str
    text: str = ""
    reasons: tuple[str, ...] = ()


def find_cards() -> Found:
    """Ask each vendor's runtime, if its library is on this machine; its package is not imported otherwise."""
    cards, missing = [], {}
    for kind, lister in LISTERS.items():
        try:
            cards += [Card(kind, info) for info in lister()]
        except HfcError as error:
            missing[kind] = error.message.removeprefix(f"device {kind}: ")
    return Found(tuple(cards), missing)


def choose_device(device: str, needed: Callable[[str], int | str], found: Callable[[], Found] = find_cards) -> Chosen:
    """What a --device means here: auto and a kind take the fastest card that holds the model.

    needed: the bytes that a model takes on an arch, or why it cannot run there. HfcError where no card is what was asked for; one that cannot hold the model is taken where the user named it.
    """
    kind, _, number = device.partition(":")
    kind = ALSO.get(kind, kind)
    device = f"{kind}:{number}" if number else kind
    if kind in OTHERS or (kind in LISTERS and number):
        return Chosen(device)
    here = found()
    wanted = [c for c in here.cards if device == AUTO or _is_meant(device, c)]
    if not wanted and device in LISTERS:
        return Chosen(device)  # opening it says why there is none
    if not wanted and device != AUTO:
        raise _no_such(device, here)
    fit, reasons = _fitting(wanted, needed)
    if fit:
        best = max(fit, key=lambda card: card.speed)
        slower = [f"{c.device} is {'integrated' if c.info.is_integrated else 'slower'}" for c in fit if c is not best]
        return Chosen(best.device, best.label, tuple(reasons + slower))
    if device != AUTO:  # opening it refuses, with the memory plan
        best = max(wanted, key=lambda card: card.speed)
        return Chosen(best.device, best.label, tuple(reasons))
    reasons += [f"{kind}: {why}" for kind, why in here.missing.items()]
    if isinstance(why := needed("host"), str):
        raise HfcError(
            f"no device of this machine can run it; {'; '.join([*reasons, f'host: {why}'])}",
            hint="hfc doctor says what a card lacks; for this CPU: hfc compile --arch host",
        )
    return Chosen("host", "host (this CPU)", tuple(reasons))


def _no_such(device: str, here: Found) -> HfcError:
    """A word that was mistyped, or a card that is not here."""
    known = [AUTO, *OTHERS, *LISTERS, *(name for c in here.cards for name in (c.device, c.info.arch))]
    if suggestions(device, known) and device not in ROWS:
        return unknown("device", device, known)
    cards = ", ".join(f"{c.device} {c.info.name} ({c.info.arch})" for c in here.cards)
    found = cards or "none (" + "; ".join(f"{kind}: {why}" for kind, why in here.missing.items()) + ")"
    return HfcError(
        f"unknown device {device!r}: no card of this machine has that name or architecture",
        hint=f"known: {', '.join([AUTO, *OTHERS, *LISTERS])}; cards here: {found}; hfc devices lists them, hfc doctor says what is missing",
    )


def _fitting(cards: Sequence[Card], needed: Callable[[str], int | str]) -> tuple[list[Card], list[str]]:
    """The cards that can run the model, and why the others cannot. An integrated one never stands beside others."""
    fit, reasons = [], []
    for card in cards:
        info = card.info
        needs = needed(info.arch) if info.arch in ROWS else f"hfc has no row for {info.arch}"
        if isinstance(needs, str):
            reasons.append(f"{card.device}: {needs}")
        elif needs > info.memory_bytes:
            reasons.append(
                f"{card.device}: the model needs {needs / GIB:.1f} GiB, {info.name} has {info.memory_bytes / GIB:.1f}"
            )
        elif info.is_integrated and any(not c.info.is_integrated and c.info.arch in ROWS for c in cards):
            reasons.append(f"{card.device} is integrated")
        else:
            fit.append(card)
    return fit, reasons


def _is_meant(device: str, card: Card) -> bool:
    """ "gpu", "hip", "gfx1100", "7900 XTX": any, a kind, an arch, or a part of a name."""
    return device in (ANY_CARD, card.kind) or device == card.info.arch or device.lower() in card.info.name.lower()


def _hip() -> list[DeviceInfo]:
    library = find_hip_library()
    if library.path is None:
        raise HfcError(library.why_not)
    infos = importlib.import_module("hfc.runtime.hip").list_devices()
    return visible(infos, os.environ, sys.platform)


def _cuda() -> list[DeviceInfo]:
    if not has_cuda_library():
        raise HfcError(NO_DRIVER)
    return importlib.import_module("hfc.runtime.cuda").list_devices()


LISTERS: dict[str, Callable[[], list[DeviceInfo]]] = {"hip": _hip, "cuda": _cuda}


def visible(infos: list[DeviceInfo], environment: os._Environ | dict[str, str], platform: str) -> list[DeviceInfo]:
    """Cards that HIP_VISIBLE_DEVICES leaves. Linux's runtime has left the others out itself; Windows' shows all of them."""
    text = environment.get("HIP_VISIBLE_DEVICES") or environment.get("ROCR_VISIBLE_DEVICES") or ""
    numbers = [int(word) for word in text.split(",") if word.strip().isdigit()]
    if platform != "win32" or not text:
        return infos
    if numbers and max(numbers) >= len(infos):  # a runtime that has numbered them anew
        return infos
    return [info for info in infos if info.index in numbers]

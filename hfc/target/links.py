"""How fast cards of an architecture read each other's memory at most: what `hfc predict` takes for ranks."""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.target.arch import Arch


@dataclass(frozen=True)
class Link:
    """gb_s: in one direction, a peak.  source: whose figure it is."""

    name: str
    gb_s: float
    source: str


PCI_SIG = "PCI Express Base Specification: lanes x transfers x 128/130 / 8"
PCIE4 = Link("PCIe 4.0 x16", 31.5, PCI_SIG)
PCIE5 = Link("PCIe 5.0 x16", 63.0, PCI_SIG)
FABRIC3 = Link(
    "Infinity Fabric", 64.0, "AMD Instinct MI300X data sheet: 128 GB/s of a link between two cards, both directions"
)
FABRIC2 = Link("Infinity Fabric", 50.0, "AMD Instinct MI250X data sheet: 100 GB/s of a link, both directions")
# first match of the arch's name; the card's own interface by AMD's product pages, where a board may give it fewer lanes
LINKS: tuple[tuple[str, Link], ...] = (
    ("gfx95", FABRIC3),
    ("gfx94", FABRIC3),
    ("gfx90a", FABRIC2),
    ("gfx12", PCIE5),
    ("gfx11", PCIE4),
    ("gfx103", PCIE4),
    ("gfx101", PCIE4),
    ("gfx9", PCIE4),
)
MEETING_S = 22e-6  # of ranks whose threads meet on the host: two H200s (docs/scale.md); no pair of AMD cards was seen


def link_of(arch: Arch) -> Link:
    found = next((link for prefix, link in LINKS if arch.name.startswith(prefix)), None)
    if found is None:
        raise HfcError(f"{arch.name}: how cards of it reach each other is not known", hint="say it: --link-gb-s")
    return found

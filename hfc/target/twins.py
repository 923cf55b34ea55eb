"""GPUs that the compiler does not tell from one of ARCHS' rows: integrated GPUs, handhelds, small cards. A test compares them.

Bandwidths of integrated GPUs are those of the fastest memory that their processors commonly have.
"""

from __future__ import annotations

from typing import NamedTuple


class Twin(NamedTuple):
    """As the row `twin` but for name, caches and cards (name, CUs, GB/s, GB, MHz)."""

    name: str
    twin: str
    l2_mb: int
    l3_mb: int
    cards: tuple[tuple[str, int, int, int, int], ...]


TWINS = (
    Twin("gfx1013", "gfx1010", 4, 0, (("BC-250", 24, 448, 16, 2000),)),
    Twin("gfx1033", "gfx1030", 1, 0, (("Steam Deck", 8, 88, 16, 1600), ("Steam Deck OLED", 8, 102, 16, 1600))),
    Twin("gfx1034", "gfx1030", 1, 16, (("RX 6400", 12, 128, 4, 2321), ("RX 6500 XT", 16, 144, 4, 2815))),
    Twin("gfx1035", "gfx1030", 2, 0, (("Radeon 680M", 12, 102, 16, 2400), ("Radeon 660M", 6, 77, 16, 1900))),
    Twin("gfx1036", "gfx1030", 1, 0, (("Radeon of Ryzen 7000 and 9000", 2, 83, 16, 2200),)),
    Twin("gfx1153", "gfx1150", 1, 0, (("Radeon 820M", 2, 90, 16, 2800),)),
)  # fmt: skip


class TwinFamily(NamedTuple):
    """GPUs whose code one target of the compiler serves, with the instructions that all of them have. base: the row that it resembles."""

    target: str
    base: str
    members: str  # a pattern of names


FAMILIES = (
    TwinFamily("gfx10-1-generic", "gfx1010", r"gfx101\d"),
    TwinFamily("gfx10-3-generic", "gfx1030", r"gfx103\d"),
    TwinFamily("gfx11-generic", "gfx1103", r"gfx11\d\d"),
    TwinFamily("gfx12-generic", "gfx1200", r"gfx120\d"),
)

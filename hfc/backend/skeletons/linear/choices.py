"""How decode multiplies a linear region, where candidates were compared by what `hfc predict` says of them: the rows of choices.csv.

scripts/choose_decode.py writes them. A region without a row of its own takes that of the nearest size on its architecture.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from math import log2
from pathlib import Path

from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.target.arch import ARCHS, Arch

TABLE = Path(__file__).with_name("choices.csv")
OTHER_FORMATS = 1.0  # how far away a row of other formats is, as a factor of two in size
WORDS = re.compile(r"skinny|(numbers )?dot split=(\d) outputs=(\d)")


@dataclass(frozen=True)
class Candidate:
    """One way to multiply. variant: of linear/geometry.py; the rest is of "dot".

    numbers: inputs of one row, too, become whole numbers in a launch of their own.  split: waves that share K, for all numbers of rows.
    outputs: of a wave of the kernel for one row."""

    variant: str
    numbers: bool = False
    split: int = 0
    outputs: int = 0

    def __str__(self) -> str:
        if self.variant != "dot":
            return self.variant
        return f"{'numbers ' if self.numbers else ''}dot split={self.split} outputs={self.outputs}"


@dataclass(frozen=True)
class Choice:
    """A row of the table: the fastest candidate for a region of decode and the next one, with microseconds of one row."""

    arch: str
    kind: str
    formats: str
    k: int
    n: int
    best: Candidate
    best_us: float
    second: Candidate
    second_us: float


def candidate(text: str) -> Candidate:
    found = WORDS.fullmatch(text)
    assert found, f"{text}: no candidate"
    return Candidate("dot", bool(found[1]), int(found[2]), int(found[3])) if found[2] else Candidate(text)


@cache
def choices() -> tuple[Choice, ...]:
    with TABLE.open(newline="") as file:
        return tuple(
            Choice(
                row["arch"],
                row["kind"],
                row["formats"],
                int(row["k"]),
                int(row["n"]),
                candidate(row["best"]),
                float(row["best_us"]),
                candidate(row["second"]),
                float(row["second_us"]),
            )
            for row in csv.DictReader(file)
        )


def kind_of(region: LinearRegion) -> str:
    return "zip" if region.zipped else "linear"


def formats_of(region: LinearRegion) -> str:
    return "_".join(form.name for form in region.weight_formats)


def choice_for(region: LinearRegion, arch: Arch) -> Choice | None:
    """The row of the nearest size; None: experts, or no row of the architecture or one like it."""
    measured = _like(arch)
    rows = [row for row in choices() if row.arch == measured and row.kind == kind_of(region)]
    if region.top or not rows:
        return None

    def distance(row: Choice) -> float:
        away = abs(log2(row.k / region.k)) + abs(log2(row.n / region.outputs))
        return away + OTHER_FORMATS * (row.formats != formats_of(region))

    return min(rows, key=distance)


def chosen_by(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    """The row that decided, for people."""
    region, row = bound.region, choice_for(bound.region, arch)
    if row is None:
        return None
    exact = (row.arch, row.formats, row.k, row.n) == (arch.name, formats_of(region), region.k, region.outputs)
    which = "its row" if exact else "no row of its own, the nearest"
    size = f"{row.kind} {row.formats} of {row.k} x {row.n} on {row.arch}"
    times = f"{row.best} takes {row.best_us:g} us, the next, {row.second}, {row.second_us:g}"
    return f"by {TABLE.name}, {which}: {size}, one row: {times} (predicted)"


@cache
def _like(arch: Arch) -> str | None:
    """The architecture itself, else one that has rows and the same instructions, whose cards are nearest in bytes for each clock of a
    compute unit."""
    known = [ARCHS[name] for name in sorted({row.arch for row in choices()})]
    if arch in known or not arch.cards:
        return arch.name
    same = [other for other in known if (other.features, other.wave) == (arch.features, arch.wave)]
    return min(same, key=lambda other: abs(log2(_supply(other) / _supply(arch)))).name if same else None


def _supply(arch: Arch) -> float:
    card = arch.cards[-1]
    return card.bandwidth_gb_s / (card.compute_units * card.clock_mhz)

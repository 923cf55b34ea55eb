"""How decode multiplies a linear region, where candidates were compared: the rows of choices.csv, and those of the user's own table.

scripts/choose_decode.py writes what `hfc predict` says, `hfc tune` what a card measured. A region without a row of its own takes that
of the nearest size on its architecture. A row of the user's own table is for its region alone, and goes first.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from math import log2
from pathlib import Path

from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import own_table
from hfc.base.whole_file import write_whole
from hfc.target.arch import ARCHS, Arch

TABLE = Path(__file__).with_name("choices.csv")
OTHER_FORMATS = 1.0  # how far away a row of other formats is, as a factor of two in size
SAME_SIZE = 0.5  # how far away a row may be whose shape of thread blocks is taken, in factors of two
WORDS = re.compile(
    r"(skinny)( split=([1248]) resident=([1-8])( ahead)?( stages=([2-8])( waves=(16|24))?)?)?|(numbers )?dot split=([1248]) outputs=([1234])( inputs first)?"
)


@dataclass(frozen=True)
class Candidate:
    """One way to multiply. variant: of linear/geometry.py.

    split: waves that share K, for all numbers of rows; 0, of "skinny": by its own rules.  numbers, of "dot": inputs of one row, too,
    become whole numbers in a launch of their own.  The rest is of the kernel for one row: outputs, of a wave of "dot", and inputs_first,
    asked for before weights, where it can; resident, blocks that a compute unit must hold, and ahead, weights are prefetched, of "skinny";
    stages: of a wave's ring of weights in LDS, 0: there is none; waves: of a block with rings, 0: as many as without."""

    variant: str
    numbers: bool = False
    split: int = 0
    outputs: int = 0
    resident: int = 0
    ahead: bool = False
    stages: int = 0
    waves: int = 0
    inputs_first: bool = False

    def __str__(self) -> str:
        if self.variant == "dot":
            first = " inputs first" if self.inputs_first else ""
            return f"{'numbers ' if self.numbers else ''}dot split={self.split} outputs={self.outputs}{first}"
        shape = f" split={self.split} resident={self.resident}{' ahead' if self.ahead else ''}" if self.split else ""
        shape += f" stages={self.stages}" if self.stages else ""
        shape += f" waves={self.waves}" if self.waves else ""
        return f"{self.variant}{shape}"


@dataclass(frozen=True)
class Choice:
    """A row of the table: the fastest candidate for a region of decode and the next one, with microseconds of one row.

    card: that measured them; "": they are predicted."""

    arch: str
    kind: str
    formats: str
    k: int
    n: int
    best: Candidate
    best_us: float
    second: Candidate
    second_us: float
    card: str = ""

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        return self.arch, self.kind, self.formats, self.k, self.n


COLUMNS = [field.name for field in fields(Choice)]


def candidate(text: str) -> Candidate:
    found = WORDS.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no way to multiply")
    if found[1]:
        return Candidate(
            "skinny",
            False,
            int(found[3] or 0),
            0,
            int(found[4] or 0),
            bool(found[5]),
            int(found[7] or 0),
            int(found[9] or 0),
        )
    return Candidate("dot", bool(found[10]), int(found[11]), int(found[12]), inputs_first=bool(found[13]))


def read_rows(path: Path) -> tuple[Choice, ...]:
    """The rows of a table. HfcError where a line is none."""
    with path.open(newline="") as file:
        lines = csv.DictReader(file)
        if lines.fieldnames != COLUMNS:
            raise HfcError(f"{path}:1: the columns are {lines.fieldnames}, not {','.join(COLUMNS)}", hint=AGAIN)
        return tuple(_row(line, path, lines.line_num) for line in lines)


AGAIN = "delete the file; hfc tune writes another"


def _row(line: dict[str, str], path: Path, number: int) -> Choice:
    try:
        sizes, times = (int(line["k"]), int(line["n"])), (float(line["best_us"]), float(line["second_us"]))
        ways = candidate(line["best"]), candidate(line["second"])
        if line["arch"] not in ARCHS or line["kind"] not in KINDS or min(*sizes, *times) <= 0:
            raise ValueError(f"{line['arch']}, {line['kind']} of {sizes} in {times} is no region of an architecture")
    except (ValueError, TypeError) as error:
        raise HfcError(f"{path}:{number}: {error}", hint=AGAIN) from None
    return Choice(
        line["arch"], line["kind"], line["formats"], *sizes, ways[0], times[0], ways[1], times[1], line["card"] or ""
    )


def write_rows(path: Path, rows: Iterable[Choice]) -> None:
    """In order, each key once: the last of equal ones."""
    text = [",".join(COLUMNS)]
    for row in sorted({row.key: row for row in rows}.values(), key=lambda row: row.key):
        text.append(",".join(str(getattr(row, name)).replace(",", " ") for name in COLUMNS))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ("\n".join(text) + "\n").encode(), "the table of choices")


@cache
def choices() -> tuple[Choice, ...]:
    return read_rows(TABLE)


def own_choices() -> Sequence[Choice]:
    """The rows of the user's own table."""
    path = own_table()
    try:
        return _own_rows(path, path.stat().st_mtime_ns, path.stat().st_size) if path else ()
    except FileNotFoundError:
        return ()


@cache
def _own_rows(path: Path, changed: int, size: int) -> tuple[Choice, ...]:
    """changed, size: so that a file that was written anew is read anew."""
    return read_rows(path)


KINDS = ("linear", "zip")


def kind_of(region: LinearRegion) -> str:
    return "zip" if region.zipped else "linear"


def formats_of(region: LinearRegion) -> str:
    return "_".join(form.name for form in region.weight_formats)


def choice_for(region: LinearRegion, arch: Arch) -> Choice | None:
    """The user's own row, else that of the nearest size; None: experts, or no row of the architecture or one like it."""
    key = (arch.name, kind_of(region), formats_of(region), region.k, region.outputs)
    own = next((row for row in own_choices() if row.key == key and not region.top), None)
    if own:
        return own
    measured = _like(arch)
    rows = [row for row in choices() if row.arch == measured and row.kind == kind_of(region)]
    if region.top or not rows:
        return None

    return min(rows, key=lambda row: _distance(row, region))


def _distance(row: Choice, region: LinearRegion) -> float:
    away = abs(log2(row.k / region.k)) + abs(log2(row.n / region.outputs))
    return away + OTHER_FORMATS * (row.formats != formats_of(region))


def shape_for(region: LinearRegion, arch: Arch) -> Candidate | None:
    """How waves of "skinny" lie, where a row of about this size says so."""
    row = choice_for(region, arch)
    known = row is not None and row.best.variant == "skinny" and row.best.split and _distance(row, region) <= SAME_SIZE
    return row.best if row and known else None


def chosen_by(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    """The row that decided, for people."""
    region, row = bound.region, choice_for(bound.region, arch)
    if row is None:
        return None
    exact = (row.arch, row.formats, row.k, row.n) == (arch.name, formats_of(region), region.k, region.outputs)
    which = "its row" if exact else "no row of its own, the nearest"
    size = f"{row.kind} {row.formats} of {row.k} x {row.n} on {row.arch}"
    times = f"{row.best} takes {row.best_us:g} us, the next, {row.second}, {row.second_us:g}"
    table = own_table() if row in own_choices() else TABLE.name
    return f"by {table}, {which}: {size}, one row: {times} ({f'measured on {row.card}' if row.card else 'predicted'})"


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

"""Candidates of each linear region timed beside the default, in turn; the fastest that is slower for no number of rows wins."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hfc.backend.emit import Emitted
from hfc.backend.skeletons import geometry
from hfc.backend.skeletons.linear.candidates import candidates, launches_as
from hfc.backend.skeletons.linear.choices import Candidate, Choice, formats_of, kind_of
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.passes.settings import Settings
from hfc.runtime.driver import Driver
from hfc.runtime.gpu import GpuModel
from hfc.runtime.random_weights import RandomWeights
from hfc.tune.part import Part, open_part, part_of, results, step_of

ROWS = (1, 8, 16)  # of a step; the first decides, no other may become slower
MARGIN = 0.02  # of the default's time: what is gained is more, what is lost with more rows is less
STEPS = 2  # on their way between two events
ALIKE = 1e-2  # relative L2 between two ways to multiply: both round inputs to 15 bits or less

Times = Mapping[int, float]  # rows -> microseconds of one launch of the region
Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the default, both in the same minutes."""

    candidate: Candidate
    us: Times
    default_us: Times

    @property
    def gain(self) -> float:
        """How much less one row takes, as a share of the default's time."""
        return 1 - self.us[ROWS[0]] / self.default_us[ROWS[0]]

    @property
    def pays(self) -> bool:
        return self.gain > MARGIN and all(self.us[rows] <= (1 + MARGIN) * self.default_us[rows] for rows in ROWS[1:])


@dataclass(frozen=True)
class Tuned:
    """A region. timed: its candidates, the fastest for one row first.  left_out: why others were not timed."""

    region: LinearRegion
    name: str
    timed: tuple[Comparison, ...]
    left_out: Mapping[Candidate, str]

    @property
    def title(self) -> str:
        region = self.region
        return f"{kind_of(region)} {formats_of(region)} of {region.k} x {region.outputs}"

    def key(self, arch: str) -> tuple[str, str, str, int, int]:
        region = self.region
        return arch, kind_of(region), formats_of(region), region.k, region.outputs

    @property
    def best(self) -> Comparison | None:
        """The candidate that takes the default's place."""
        return next((timed for timed in self.timed if timed.pays), None)

    def row(self, arch: str, card: str) -> Choice | None:
        """For the user's table: the default keeps its place without one."""
        best = self.best
        if best is None:
            return None
        second = next((timed for timed in self.timed if timed is not best), best)
        us, second_us = (round(timed.us[ROWS[0]], 2) for timed in (best, second))
        return Choice(*self.key(arch), best.candidate, us, second.candidate, second_us, card)


def tune(emitted: Emitted, settings: Settings, driver: Driver, repetitions: int, say: Say) -> Iterator[Tuned]:
    """Every dense linear region of decode that has candidates."""
    names = [name for name, bound in emitted.kernels.items() if isinstance(bound.region, LinearRegion)]
    called = {call.bound.name for call in emitted.calls}
    for name in (name for name in names if name in called):
        part = part_of(emitted, name)
        default = geometry(part.bound, settings.arch, "decode")
        ways = candidates(part.bound, settings.arch)
        wanted = [way for way in ways if launches_as(part.bound, settings.arch, way) != default]
        if wanted:
            yield tune_region(part, wanted, settings, driver, repetitions, say)


def tune_region(
    part: Part, wanted: list[Candidate], settings: Settings, driver: Driver, repetitions: int, say: Say
) -> Tuned:
    weights = RandomWeights(settings.context)
    default = open_part(part, settings, driver, weights, None)
    timed: list[Comparison] = []
    left_out: dict[Candidate, str] = {}
    try:
        expected = results(part, default, ROWS[-1])
        for number, candidate in enumerate(wanted):
            say(f"{part.bound.name}: {candidate}, {number + 1} of {len(wanted)}")
            try:
                other = open_part(part, settings, driver, weights, candidate)
            except HfcError as error:  # a gate that the candidate does not keep
                left_out[candidate] = str(error).splitlines()[0]
                continue
            try:
                differs = _distance(results(part, other, ROWS[-1]), expected)
                if not differs <= ALIKE:
                    left_out[candidate] = f"its results differ from the default's by {differs:.1g}"
                    continue
                found = compare(part, candidate, default, other, repetitions)
                # once more, for the card's own spread is as large as what is to be gained
                timed.append(compare(part, candidate, default, other, 2 * repetitions) if found.pays else found)
            finally:
                other.close()
    finally:
        default.close()
    timed.sort(key=lambda each: each.us[ROWS[0]])
    return Tuned(part.bound.region, part.bound.name, tuple(timed), left_out)


def compare(part: Part, candidate: Candidate, default: GpuModel, other: GpuModel, repetitions: int) -> Comparison:
    """Medians of repetitions, the two in turn."""
    found: dict[int, list[list[float]]] = {rows: [[], []] for rows in ROWS}
    for rows in ROWS:
        for round_number in range(repetitions + 1):
            for times, model in zip(found[rows], (default, other), strict=True):
                us = _step_us(model, rows) / len(part.calls)
                if round_number:  # the first builds graphs and wakes the card
                    times.append(us)
    before, after = ({rows: statistics.median(found[rows][i]) for rows in ROWS} for i in (0, 1))
    return Comparison(candidate, after, before)


def _step_us(model: GpuModel, rows: int) -> float:
    driver, step = model.driver, step_of(rows)
    first, last = driver.create_event(), driver.create_event()
    driver.record(first, model.stream)
    for _ in range(STEPS):
        model.run(step, copy_logits=False, wait=False)
    driver.record(last, model.stream)
    return 1e3 * driver.elapsed_ms(first, last) / STEPS


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

"""One launch on a card: a few thread blocks traced in the emulator, the rest of the grid by what they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import Array
from functools import cached_property

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.isa.arena import Region
from hfc.isa.launch import LaunchOptions, Loaded
from hfc.isa.trace import Trace
from hfc.predict.instructions import instructions_of
from hfc.predict.replay import LINE, Places, ReplayedBlock, Report, machine_of, replay, split
from hfc.target.arch import Arch, CardSpec
from hfc.target.timing import SIMDS, Timing, clock_ghz, timing_of, units_of

MOST_BLOCKS = 400  # of a unit that are replayed; more take proportionally longer
MOST_RESIDENT = 64
BUSY = 0.6  # of a resource's time: that is what bounds a kernel; below it, latency

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Site:
    """A card as launches see it."""

    arch: Arch
    timing: Timing
    units: int
    ghz: float
    gb_s: float

    @property
    def bytes_per_cycle(self) -> float:
        """What memory gives the whole card."""
        return self.gb_s * self.timing.dram_share / self.ghz


def site_of(arch: Arch, card: CardSpec) -> Site:
    return Site(arch, timing_of(arch), units_of(arch, card), clock_ghz(arch, card), card.bandwidth_gb_s)


@dataclass(frozen=True)
class Sample:
    """The traced blocks of a launch, good for every card of its arch. shared: LDS bytes of a block. dram: see machine_of."""

    name: str
    grid: Size
    threads: int
    vgprs: int
    shared: int
    table: Array
    blocks: tuple[ReplayedBlock, ...]
    dram: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        return math.prod(self.grid)


@dataclass(frozen=True)
class Predicted:
    """One launch's time. dram_bytes, l2_bytes: of the whole launch.  busy: share of the time that each resource works."""

    name: str
    seconds: float
    dram_bytes: float
    l2_bytes: float
    busy: dict[str, float]
    waits: dict[str, float]

    @cached_property
    def bound(self) -> str:
        """What bounds it: issue, LDS, requests, L2, DRAM, or, where nothing is busy, latency."""
        name, share = max(self.busy.items(), key=lambda item: item[1])
        return name if share >= BUSY else "latency"


def sample(
    loaded: Loaded,
    arch: Arch,
    grid: Size,
    block: int,
    arguments: list,
    shared: int = 0,
    dram: Sequence[Region] = (),
    count: int = 2,
) -> Sample:
    """Run `count` blocks, spread over the grid, and write down what they do."""
    table, blocks = instructions_of(loaded.program, arch, timing_of(arch)), []
    places = Places([argument for argument in arguments if isinstance(argument, Region)])
    waves = -(-block // arch.wave)
    for place in spread(grid, count):
        trace = Trace()
        loaded.launch(grid, block, arguments, shared, LaunchOptions(profile=True, blocks=[place], trace=trace))
        blocks.append(split(table, trace.whole(), waves, places))
    kernel = loaded.kernel
    vgprs = max(1, kernel.metadata.get(".vgpr_count", 32))
    return Sample(
        kernel.name,
        grid,
        block,
        vgprs,
        kernel.lds_bytes + shared,
        table,
        tuple(blocks),
        tuple(map(places.lines_of, dram)),
    )


def spread(grid: Size, count: int) -> list[Size]:
    """Up to `count` places of the grid, evenly."""
    total = math.prod(grid)
    picks = range(total) if total <= count else sorted({int((i + 0.5) * total / count) for i in range(count)})
    return [(n % grid[0], n // grid[0] % grid[1], n // (grid[0] * grid[1])) for n in picks]


def predict(found: Sample, site: Site) -> Predicted:
    arch, timing = site.arch, site.timing
    waves_per_block = len(found.blocks[0].waves)
    waves = arch.occupancy(found.vgprs)
    fit = min(SIMDS * waves // waves_per_block, timing.lds_bytes // found.shared if found.shared else MOST_RESIDENT)
    if fit == 0:
        raise HfcError(f"{found.name}: a thread block does not fit on a {arch.name}")
    mine, active = -(-found.total // site.units), min(found.total, site.units)
    count = min(mine, MOST_BLOCKS)
    line_cycles = max(LINE * active / site.bytes_per_cycle, 2.0)
    machine = machine_of(timing, waves, line_cycles, found.dram)
    report = replay(machine, found.table, found.blocks, count, min(fit, count, MOST_RESIDENT), found.name)
    scale = mine / count
    return _predicted(found.name, report, site, scale, active, line_cycles)


def _predicted(name: str, report: Report, site: Site, scale: float, active: int, line_cycles: float) -> Predicted:
    timing, cycles = site.timing, max(report.cycles, 1)
    busy = {
        "issue": report.valu_cycles / (cycles * SIMDS),
        "LDS": report.lds_cycles / (cycles * min(2, timing.l0_caches)),
        "requests": report.request_cycles / (cycles * timing.l0_caches),
        "L2": report.l2_lines * LINE / timing.l2_bytes_per_cycle / cycles,
        "DRAM": report.dram_lines * line_cycles / cycles,
    }
    total = report.wait_loads + report.wait_lds + report.wait_registers + report.wait_code or 1
    waits = {
        "memory": report.wait_loads / total,
        "LDS": report.wait_lds / total,
        "registers": report.wait_registers / total,
        "code": report.wait_code / total,
    }
    lines = scale * active * LINE
    return Predicted(
        name, cycles * scale / site.ghz / 1e9, report.dram_lines * lines, report.l2_lines * lines, busy, waits
    )

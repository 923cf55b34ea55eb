"""Traces of sampled thread blocks -> the cycles of a launch, by C code that replays them on one unit of a card (unit.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import Array, Structure, c_double, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.isa.arena import Region
from hfc.isa.tables import build
from hfc.predict.instructions import Instruction
from hfc.target.timing import SIMDS, Timing

LINE = 128  # bytes
RANGES = 16
GAP_LINES = 32  # between regions
CODE_LINE, CODE_LATENCY = 128, 200
LIMIT = 1 << 33
SOURCES = ("unit.h", "caches.c", "issue.c", "replay.c", "streams.c")  # one translation unit
FAULTS = {1: "it takes too long", 2: "its waves wait for each other for ever", 3: "there is no memory for it"}


class ReplayMachine(Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("simds", "waves", "caches", "cache_lines")),
        *((name, c_double) for name in ("dram_cycles", "l2_cycles")),
        *((name + "_latency", c_double) for name in ("l0", "l2", "dram", "lds", "scalar")),
        ("dispatch_cycles", c_double),
        *((name, c_uint32) for name in ("code_line_bytes", "code_latency", "request_bytes", "ranges")),
        ("dram_first", c_uint64 * RANGES),
        ("dram_end", c_uint64 * RANGES),
    ]


class CodeRange(Structure):
    _fields_ = [("first", c_uint64), ("end", c_uint64), ("name", c_uint64)]


class InstructionStream(Structure):
    _fields_ = [("entries", c_void_p), ("count", c_uint64)]


class Report(Structure):
    """What one unit did, see unit.h."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "cycles", "issued", "valu_cycles", "lds_cycles", "request_cycles", "dram_lines", "l2_lines", "l0_hits", "l0_misses",
            "wait_loads", "wait_lds", "wait_registers", "wait_code", "wait_units",
        )
    ]  # fmt: skip


# Of instructions that were issued: cycle, when a load's data are there (else the next cycle), place of the wave on the unit, kind of unit.
EVENT = np.dtype([("cycle", "u8"), ("until", "u8"), ("wave", "u4"), ("unit", "u4")])


class EventLog(Structure):
    """Room for events of a replay; `used` counts on where there is none."""

    _fields_ = [("address", c_void_p), ("room", c_uint64), ("used", c_uint64)]

    def __init__(self, room: int):
        self._events = np.zeros(room, EVENT)
        super().__init__(self._events.ctypes.data, room, 0)

    @property
    def events(self) -> np.ndarray:
        """EVENT [as many as there was room for]."""
        return self._events[: self.used]


@dataclass(frozen=True)
class ReplayedBlock:
    """One sampled thread block: a stream of entries for each wave."""

    waves: tuple[np.ndarray, ...]

    @property
    def entries(self) -> int:
        return sum(map(len, self.waves))


@cache
def library() -> ctypes.CDLL:
    parts = ((Path(__file__).parent / name).read_text().replace('#include "unit.h"\n', "") for name in SOURCES)
    found = ctypes.CDLL(str(build("replay", "\n".join(parts))))
    found.sizes.restype = c_uint64
    for number, struct in enumerate((Instruction, ReplayMachine, InstructionStream, Report, CodeRange)):
        assert found.sizes(number) == ctypes.sizeof(struct), f"{struct.__name__} differs from unit.h"
    assert (found.sizes(5), found.sizes(6)) == (EVENT.itemsize, ctypes.sizeof(EventLog)), "events differ from unit.h"
    found.split.argtypes = [c_void_p, c_void_p, c_uint64, c_void_p, c_uint32, c_void_p, c_void_p]
    found.replay.argtypes = [c_void_p] * 3 + [c_uint32] * 4 + [c_uint64, c_void_p, c_void_p]
    return found


class Places:
    """Names of lines that do not depend on where regions happen to lie."""

    def __init__(self, regions: Sequence[Region]):
        self.ranges, self._names = (CodeRange * len(regions))(), {}
        name = 1 << 10
        for place, region in zip(self.ranges, regions):
            place.first, place.end, place.name = (
                region.address // LINE,
                -(-(region.address + region.nbytes) // LINE),
                name,
            )
            self._names[region.address] = (name, name + place.end - place.first)
            name += place.end - place.first + GAP_LINES

    def lines_of(self, region: Region) -> tuple[int, int]:
        """First line and the one after the last."""
        return self._names[region.address]


def split(table: Array, trace: np.ndarray, waves: int, places: Places) -> ReplayedBlock:
    """A block's trace -> what each of its waves executed."""
    counts, ranges = (c_uint64 * waves)(), (places.ranges, len(places.ranges))
    library().split(table, trace.ctypes.data, len(trace), *ranges, None, counts)
    streams = [np.empty(count, np.uint64) for count in counts]
    pointers, filled = (c_void_p * waves)(*(stream.ctypes.data for stream in streams)), (c_uint64 * waves)()
    library().split(table, trace.ctypes.data, len(trace), *ranges, pointers, filled)
    return ReplayedBlock(tuple(streams))


def machine_of(timing: Timing, waves: int, dram_line_cycles: float, dram: Sequence[tuple[int, int]]) -> ReplayMachine:
    """waves: that a SIMD can hold of this kernel.  dram: lines that are read from memory at first touch; the rest is in L2."""
    made = ReplayMachine(
        simds=SIMDS,
        waves=waves,
        caches=timing.l0_caches,
        cache_lines=timing.l0_bytes // LINE,
        dram_cycles=dram_line_cycles,
        l2_cycles=LINE / timing.l2_bytes_per_cycle,
        l0_latency=timing.l0_latency,
        l2_latency=timing.l2_latency,
        dram_latency=timing.dram_latency,
        lds_latency=timing.lds_latency,
        scalar_latency=timing.scalar_latency,
        dispatch_cycles=timing.dispatch_cycles,
        code_line_bytes=CODE_LINE,
        code_latency=CODE_LATENCY,
        request_bytes=timing.request_bytes,
        ranges=min(len(dram), RANGES),
    )
    for number, (first, end) in enumerate(dram[:RANGES]):
        made.dram_first[number], made.dram_end[number] = first, end
    return made


def replay(
    machine: ReplayMachine,
    table: Array,
    blocks: Sequence[ReplayedBlock],
    count: int,
    resident: int,
    label: str,
    log: EventLog | None = None,
) -> Report:
    """`count` thread blocks, up to `resident` at once; the sampled ones stand for all in turn. log: takes what is issued."""
    waves = len(blocks[0].waves)
    streams = (InstructionStream * (len(blocks) * waves))(
        *(InstructionStream(wave.ctypes.data, len(wave)) for block in blocks for wave in block.waves)
    )
    report = Report()
    error = library().replay(
        ctypes.byref(machine), table, streams, len(blocks), waves, count, resident, LIMIT, ctypes.byref(report),
        None if log is None else ctypes.byref(log),
    )  # fmt: skip
    if error:
        raise HfcError(f"{label}: its time cannot be predicted: {FAULTS[error]}")
    return report

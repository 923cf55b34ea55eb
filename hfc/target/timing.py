"""What takes how long on an AMD GPU, as `hfc predict` replays it: latencies, widths and launch gaps by generation.

A unit is what shares caches, LDS and barriers: a WGP of RDNA (two CUs, four SIMDs), a CU of GCN and CDNA.

Sources: latencies are public microbenchmarks by pointer chasing, rounded; sizes and issue rates are from AMD's ISA manuals and data
sheets. One figure is fitted, the launch gap of RDNA 3, and for comparison that of RDNA 2: docs/predict.md.
"""

from __future__ import annotations

from dataclasses import replace

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.target.arch import Arch, CardSpec


@dataclass(frozen=True)
class Timing:
    """Latencies in cycles of the core clock.

    compute_units: of a unit.  l0_caches: of a unit, each l0_bytes.  l2_bytes_per_cycle: what the second level gives one unit.
    clock_share: of the boost clock that long runs hold.  dram_share: of the peak bandwidth that streams reach.
    issue_cycles: a SIMD is busy so long with a vector instruction.  launch_us: between the end of a kernel and the start of the next.
    absolute: whether predicted decode speeds were within 6 % of published ones; else they only rank kernels.
    """

    compute_units: int
    l0_caches: int
    l0_bytes: int
    lds_bytes: int
    l2_bytes_per_cycle: int
    l0_latency: int
    l2_latency: int
    dram_latency: int
    lds_latency: int
    scalar_latency: int
    issue_cycles: int
    clock_share: float
    launch_us: float
    absolute: bool
    dram_share: float = 0.9
    dispatch_cycles: int = 8
    request_bytes: int = 64


SIMDS = 4
RDNA3 = Timing(2, 2, 32768, 131072, 48, 110, 280, 700, 50, 120, 1, 0.96, 2.2, True)
RDNA2 = Timing(2, 2, 16384, 131072, 48, 110, 250, 600, 50, 120, 1, 0.978, 8.8, True)
GCN = Timing(1, 1, 16384, 65536, 32, 120, 250, 500, 64, 120, 4, 0.985, 8.8, False)
# first match of the arch's name; no figure is known for the launch gap of RDNA1, GCN and CDNA, RDNA2's is taken
TIMINGS: tuple[tuple[str, Timing], ...] = (
    ("gfx1151", replace(RDNA3, dram_latency=900, clock_share=0.931)),
    ("gfx1103", replace(RDNA3, dram_latency=900, absolute=False)),
    ("gfx115", replace(RDNA3, dram_latency=900, absolute=False)),
    ("gfx11", RDNA3),
    ("gfx12", replace(RDNA3, dram_latency=750, clock_share=0.909)),
    ("gfx1033", replace(RDNA2, dram_latency=900, absolute=False)),
    ("gfx1035", replace(RDNA2, dram_latency=900, absolute=False)),
    ("gfx1036", replace(RDNA2, dram_latency=900, absolute=False)),
    ("gfx103", RDNA2),
    ("gfx10", replace(RDNA2, absolute=False)),
    ("gfx95", replace(GCN, l0_bytes=32768, lds_bytes=163840, l2_bytes_per_cycle=64, dram_latency=700, clock_share=0.9)),
    ("gfx94", replace(GCN, l0_bytes=32768, l2_bytes_per_cycle=64, dram_latency=700, clock_share=0.9)),
    ("gfx90a", replace(GCN, l2_bytes_per_cycle=64, dram_latency=600)),
    ("gfx908", replace(GCN, l2_bytes_per_cycle=64, dram_latency=600)),
    ("gfx9", GCN),
)


def timing_of(arch: Arch) -> Timing:
    """HfcError for what is not an AMD GPU."""
    found = next((timing for prefix, timing in TIMINGS if arch.name.startswith(prefix)), None)
    if found is None:
        raise HfcError(
            f"{arch.name}: times are predicted for AMD GPUs", hint="others are measured: hfc bench --device cuda"
        )
    return found


def units_of(arch: Arch, card: CardSpec) -> int:
    return card.compute_units // timing_of(arch).compute_units


def clock_ghz(arch: Arch, card: CardSpec) -> float:
    """What long runs hold."""
    return card.clock_mhz / 1e3 * timing_of(arch).clock_share

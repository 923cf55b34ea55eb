"""PLATFORMS: how archs of one vendor's toolchain are compiled, launched and measured, one row each.

What is true of a single architecture stands in `arch.py`. A new platform is a row here and, for a new assembly language, a reader in
`backend/assembly.py`, `backend/compile.py` and `bundles/code.py`, and a command line in `backend/toolchain.py`."""

from __future__ import annotations

from hfc.base.dataclass import dataclass

EXACT, FAST, TURBO = "exact", "fast", "turbo"  # precision profiles, see profiles.py
AMDGCN, PTX, NATIVE_ASSEMBLY = "amdgcn", "ptx", "native"


@dataclass(frozen=True)
class Platform:
    """name: as HIP and the wheels of drivers have it.

    is_gpu: every kernel is a code object of its own, launched as a grid of thread blocks; otherwise all are functions of one library.
    assembly: the language that the compiler writes; comment: how its remarks begin.
    has_registers: the assembly names physical registers, so that occupancy is known; otherwise the driver allocates them.
    is_emulated: `hfc/isa` runs its machine code and `hfc/predict` has its latencies.
    loads_unaligned: the memory unit takes any alignment, so that bytes that a loader names one by one are joined.
    launch_us: the gap between launches where no generation has its own, see timing.py.
    profiles: precision profiles of its plans, that of a plan that asks for none last.  asked: those that are made only where asked for,
    if the arch has the instructions."""

    name: str
    is_gpu: bool
    assembly: str
    comment: str
    has_registers: bool
    is_emulated: bool
    loads_unaligned: bool
    launch_us: float | None
    profiles: tuple[str, ...]
    asked: tuple[str, ...] = ()


AMD_PLATFORM = Platform("amd", True, AMDGCN, ";", True, True, True, None, (EXACT, FAST), (TURBO,))
NVIDIA_PLATFORM = Platform("nvidia", True, PTX, "//", False, False, False, 1.0, (EXACT, FAST), (TURBO,))
HOST_PLATFORM = Platform("host", False, NATIVE_ASSEMBLY, "#", False, False, False, None, (EXACT,))
PLATFORMS = {platform.name: platform for platform in (AMD_PLATFORM, NVIDIA_PLATFORM, HOST_PLATFORM)}

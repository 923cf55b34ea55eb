"""What a code object's machine is to the emulator: wave, instruction family, and how a kernel is started.

gfx names are needed here, because a code object names nothing else.
"""

from __future__ import annotations

from hfc.base.dataclass import dataclass
from hfc.isa.code_object import KernelDescriptor
from hfc.isa.errors import Unsupported


@dataclass(frozen=True)
class Target:
    """family: instruction meanings (tables.FAMILIES).  packed_ids: work-item ids share v0.

    ttmp_ids: block ids are in trap temporaries.  flat_scratch: scratch needs no SGPRs.  m0: its register code.
    fnuz: its 8-bit floats have no infinities and no -0.  wmma: 0 RDNA3 layout, 1 RDNA4 layout."""

    arch: str
    family: str
    wave: int
    packed_ids: bool
    ttmp_ids: bool
    flat_scratch: bool
    m0: int
    fnuz: bool = False
    wmma: int = 0

    @property
    def keeps_high_half(self) -> bool:
        """Does a 16-bit result leave the upper half of its register alone?"""
        return self.wave == 32


ROWS = (  # first match wins
    ("gfx12", Target("", "rdna4", 32, True, True, True, 125, wmma=1)),
    ("gfx11", Target("", "rdna3", 32, True, False, True, 125)),
    ("gfx10", Target("", "rdna2", 32, False, False, False, 124)),
    ("gfx94", Target("", "cdna", 64, True, False, True, 124, fnuz=True)),
    ("gfx95", Target("", "cdna", 64, True, False, True, 124)),
    ("gfx90a", Target("", "cdna", 64, True, False, False, 124)),
    ("gfx9", Target("", "cdna", 64, False, False, False, 124)),
)


def target_of(arch: str, kernel: KernelDescriptor) -> Target:
    """Raises Unsupported for a machine that is not known, and for wave64 code on RDNA."""
    row = next((t for prefix, t in ROWS if arch.startswith(prefix)), None)
    if row is None:
        raise Unsupported(
            f"{kernel.name}: code for {arch} cannot be emulated",
            hint="known: gfx9, gfx10, gfx11 and gfx12 of all kinds",
        )
    if row.wave == 32 and not kernel.wave32:
        raise Unsupported(
            f"{kernel.name}: wave64 code for {arch} cannot be emulated", hint="compile without -mwavefrontsize64"
        )
    return Target(**{**row.__dict__, "arch": arch})

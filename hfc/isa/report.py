"""A fault of the core -> an error that names kernel, thread block, wave, lane, instruction and source line."""

from __future__ import annotations

from hfc.isa.arena import GUARD_BYTES, Region
from hfc.isa.code_object import KernelDescriptor
from hfc.isa.errors import KernelFault
from hfc.isa.machine import STATUS, Machine, Wave
from hfc.isa.program import KernelProgram

FAULTS = (
    "none",
    "global memory access out of bounds",
    "LDS access out of bounds",
    "scratch access out of bounds",
    "jump outside the code",
    "write to read-only memory",
    "WMMA: lanes 16-31 of A or B do not repeat lanes 0-15",
    "illegal instruction",
)
STOPS = {
    "ST_TRAP": "trap",
    "ST_DEADLOCK": "deadlock: some waves wait at a barrier that the others never reach",
    "ST_BUDGET": "the instruction limit is reached: an endless loop?",
}
HINTS = {
    "WMMA": "RDNA3 wants each half of the wave to hold the whole fragment",
    "deadlock": "a barrier inside a branch that not all waves take",
}
HAS_ADDRESS = {1, 2, 3, 5}


def fault(
    status: int,
    machine: Machine,
    wave: Wave,
    program: KernelProgram,
    kernel: KernelDescriptor,
    block: tuple[int, int, int],
    regions: list[Region],
) -> KernelFault:
    """The error for a status that is neither END nor NEED."""
    address = wave.pc - program.base
    line = program.lines.get(address)
    name = next(n for n, value in STATUS.items() if value == status)
    what = FAULTS[machine.fault] if name == "ST_FAULT" else STOPS.get(name, name)
    parts = [what]
    if name == "ST_FAULT" and machine.fault in HAS_ADDRESS:
        parts.append(f"lane {machine.fault_lane}, {machine.fault_bytes} bytes at {_place(machine.fault_addr, regions)}")
    source = f" ({line.source})" if line and line.source else ""
    text = line.text if line else "no instruction"
    where = f"{kernel.name}: thread block {block}, wave {wave.id}, instruction {address:#x}{source}: {text}"
    hint = next((h for key, h in HINTS.items() if key in what), None)
    return KernelFault(f"{': '.join(parts)}; {where}", hint=hint)


def _place(address: int, regions: list[Region]) -> str:
    """The address, in terms of the region that it is in or beside."""
    for region in regions:
        offset = address - region.address
        if -GUARD_BYTES <= offset < region.nbytes + GUARD_BYTES:
            return f"{address:#x} (byte {offset} of {region.name}, {region.nbytes} bytes long)"
    return f"{address:#x}"

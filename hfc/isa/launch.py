"""Run one kernel of a code object: arguments in, thread blocks through the core, faults out.

    result = run_kernel(data, "saxpy", grid=4, block=256, arguments=[x, y, np.float32(2), 1024])

Arrays are passed as pointers: copied in, and back after the run unless they are read-only. Numbers go by value.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.isa.arena import Arena, Region
from hfc.isa.arguments import argument_arena, dynamic_lds_start, fill_arguments
from hfc.isa.code_object import CodeObject, KernelDescriptor
from hfc.isa.machine import SCRATCH_RSRC_HI, STATUS, Inst, Machine, Range, Start, Wave, core
from hfc.isa.program import KernelProgram, load_code_object, load_program
from hfc.isa.report import fault
from hfc.isa.result import InstructionCount, Result
from hfc.isa.target import target_of
from hfc.isa.trace import Trace

POISON = 0x7FBADBAD  # a NaN as f32 and as f16: what registers and LDS hold before a kernel writes them
LINE_BYTES = 128
UNKNOWN_STACK_BYTES = 16384  # scratch per work-item where the compiler could not know the depth of calls
SGPR_CODES = 512


@dataclass(frozen=True)
class LaunchOptions:
    """How a run goes.

    quantum: 0: each wave runs to its next barrier; n: waves take turns of n instructions.
    reverse: waves last to first.  concurrent: all thread blocks are resident at once.
    limit: instructions of one wave before it counts as an endless loop.
    poison: registers and LDS start as NaN patterns.  blocks: run only these, to sample a large grid.
    trace: write down what is executed (needs profile).
    """

    check: bool = True
    profile: bool = False
    quantum: int = 0
    reverse: bool = False
    concurrent: bool = False
    limit: int = 1 << 40
    poison: bool = True
    strict_wmma: bool = True
    blocks: Sequence[tuple[int, int, int]] | None = None
    trace: Trace | None = None


DEFAULT = LaunchOptions()
SCHEDULES = (
    DEFAULT,
    LaunchOptions(reverse=True),
    LaunchOptions(quantum=3, reverse=True),
)  # a missing barrier differs between them


def run_kernel(
    data: bytes,
    name: str,
    grid,
    block,
    arguments: Sequence[Any],
    shared: int = 0,
    options: LaunchOptions = DEFAULT,
    label: str = "code object",
    **changes,
) -> Result:
    """`data`: the code object. grid counts thread blocks. shared: dynamic LDS bytes. changes: fields of Options."""
    options = LaunchOptions(**{**options.__dict__, **changes})
    arrays = _unique([a for a in arguments if isinstance(a, np.ndarray) and a.ndim])
    arena = Arena([(f"array {i}", a.nbytes, bool(a.flags.writeable)) for i, a in enumerate(arrays)])
    by_id = {id(a): region for a, region in zip(arrays, arena.regions)}
    for array, region in zip(arrays, arena.regions):
        region.view[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    passed = [by_id.get(id(a), a) for a in arguments]
    result = launch_kernel(data, name, grid, block, passed, shared, options, label)
    for array, region in zip(arrays, arena.regions):
        if region.writable:
            array[...] = region.view.view(array.dtype).reshape(array.shape)
    return result


def launch_kernel(
    data: bytes,
    name: str,
    grid,
    block,
    arguments: Sequence[Any],
    shared: int = 0,
    options: LaunchOptions = DEFAULT,
    label: str = "code object",
) -> Result:
    """As run_kernel, on Regions of an arena, which are used in place: a kernel may touch those and nothing else."""
    return load_kernel(data, name, label).launch(grid, block, arguments, shared, options)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A kernel whose code object is in memory and decoded."""

    program: KernelProgram
    kernel: KernelDescriptor

    @property
    def arch(self) -> str:
        return self.program.target.arch

    def launch(
        self,
        grid,
        block,
        arguments: Sequence[Any],
        shared: int = 0,
        options: LaunchOptions = DEFAULT,
        memory: Sequence[Region] = (),
    ) -> Result:
        """memory: what the kernel may touch besides its arguments, for pointers that are given as numbers."""
        run = _Run(self.program, self.kernel, _triple(grid), _triple(block), list(arguments), shared, options, memory)
        return run.go()


def load_kernel(data: bytes, name: str, label: str = "code object") -> Loaded:
    code_object = load_code_object(data, label)
    if name not in code_object.kernels:
        raise unknown("kernel", name, code_object.kernels)
    return _loaded(code_object, code_object.kernels[name])


def load_kernels(data: bytes, label: str = "code object") -> dict[str, Loaded]:
    """Every kernel of a code object, by name."""
    code_object = load_code_object(data, label)
    return {name: _loaded(code_object, kernel) for name, kernel in code_object.kernels.items()}


def _loaded(code_object: CodeObject, kernel: KernelDescriptor) -> Loaded:
    return Loaded(load_program(code_object, target_of(code_object.arch, kernel)), kernel)


def check_code_object(data: bytes, label: str = "code object") -> dict[str, str]:
    """Instructions of any kernel that could not be emulated -> why. Nothing runs."""
    found: dict[str, str] = {}
    for loaded in load_kernels(data, label).values():
        found |= loaded.program.refused()
    return found


class _Run:
    def __init__(
        self,
        program: KernelProgram,
        kernel: KernelDescriptor,
        grid,
        block,
        arguments: list,
        shared: int,
        options: LaunchOptions,
        memory: Sequence[Region],
    ):
        self.program, self.kernel, self.grid, self.block, self.options = program, kernel, grid, block, options
        self.target = program.target
        self.threads = block[0] * block[1] * block[2]
        most = kernel.metadata.get(".max_flat_workgroup_size", 1024)
        if self.threads > most:
            raise HfcError(f"{kernel.name}: {self.threads} work-items in a thread block, compiled for at most {most}")
        self.lds_bytes = kernel.lds_bytes if not shared else dynamic_lds_start(kernel) + shared
        self.scratch_bytes = kernel.scratch_bytes + (UNKNOWN_STACK_BYTES if kernel.dynamic_stack else 0)
        self.regions = _unique([*(a for a in arguments if isinstance(a, Region)), *memory])
        self.own = argument_arena(kernel)
        fill_arguments(self.own, kernel, program.base, grid, block, arguments, shared)

    def go(self) -> Result:
        options, wave = self.options, self.target.wave
        self.waves_per_block = -(-self.threads // wave)
        order = list(options.blocks if options.blocks is not None else _all_blocks(self.grid))
        resident = len(order) if options.concurrent else 1
        state = self._allocate(resident)
        if options.profile:
            self.program.clear_counts()
        result = Result(self.kernel.name, self.target.arch, registers=self._registers())
        started = time.perf_counter()
        for first in range(0, len(order), resident):
            blocks = order[first : first + resident]
            self._run_blocks(state, blocks)
            count = self.waves_per_block * len(blocks)
            result.waves += count
            result.instructions += sum(state.waves[i].icount for i in range(count))
        result.seconds = time.perf_counter() - started
        result.unaligned = state.machine.unaligned
        if options.trace:
            options.trace.used = state.machine.traced
        if options.profile:
            result.counts = self._counts()
        return result

    def _registers(self) -> dict:
        metadata = self.kernel.metadata
        return {
            "vgpr": metadata.get(".vgpr_count"),
            "sgpr": metadata.get(".sgpr_count"),
            "lds": self.lds_bytes,
            "scratch": self.scratch_bytes,
            "spills": metadata.get(".vgpr_spill_count", 0),
        }

    def _allocate(self, resident: int) -> _State:
        waves, wave = self.waves_per_block * resident, self.target.wave
        has_agprs = self.target.family == "cdna"
        used = 256 if has_agprs else min(256, self.kernel.metadata.get(".vgpr_count", 256))
        sgprs = np.zeros((waves, SGPR_CODES), np.uint32)
        vgprs = np.zeros((waves, 256 * wave), np.uint32)
        agprs = np.zeros((waves, 256 * wave), np.uint32) if has_agprs else vgprs
        lds = np.zeros((resident, max(self.lds_bytes, 16) + 64), np.uint8)
        scratch = np.zeros((waves, max(self.scratch_bytes, 1) * wave + 64), np.uint8)
        template, user, entry = self._first_sgprs()
        records = (Wave * waves)()
        for i in range(waves):
            arrays = (sgprs[i], vgprs[i], agprs[i], lds[i // self.waves_per_block], scratch[i])
            records[i] = Wave(*(a.ctypes.data for a in arrays))
        start = Start(
            template.ctypes.data,
            entry,
            self.waves_per_block,
            self.threads,
            (ctypes.c_uint32 * 3)(*self.block),
            used,
            POISON if self.options.poison else 0,
            user,
            self.kernel.rsrc2,
            self._mode(),
            self.lds_bytes + 16,
            self.scratch_bytes * wave,
            int(self.target.packed_ids),
            int(self.target.ttmp_ids),
            int(self.target.flat_scratch),
            int(has_agprs),
        )
        machine, ranges = self._machine()
        return _State(
            machine,
            records,
            start,
            (ctypes.c_uint32 * resident)(),
            (ctypes.c_uint32 * resident)(),
            (sgprs, vgprs, agprs, lds, scratch, template, ranges),
        )

    def _mode(self) -> int:
        """MODE: rounding and denormals, DX10_CLAMP, IEEE (RDNA4 has neither of the two)."""
        rsrc1 = self.kernel.rsrc1
        return (
            rsrc1 >> 12 & 0xFF
            | (rsrc1 >> 21 & 1) << 8
            | (0 if self.target.family == "rdna4" else (rsrc1 >> 23 & 1) << 9)
        )

    def _first_sgprs(self) -> tuple[np.ndarray, int, int]:
        """(initial SGPRs, how many are user SGPRs, entry address)."""
        kernel, (arguments, packet) = self.kernel, self.own.regions
        template = np.full(SGPR_CODES, POISON if self.options.poison else 0, np.uint32)
        template[106:] = 0
        values = {
            "private_segment_buffer": [0, SCRATCH_RSRC_HI, 0xFFFFFFFF, 0],
            "dispatch_ptr": _words(packet.address),
            "queue_ptr": [0, 0],
            "kernarg_ptr": _words(arguments.address),
            "dispatch_id": [0, 0],
            "flat_scratch_init": [0, 0],
            "private_segment_size": [self.scratch_bytes],
        }
        user = [word for name in kernel.user_sgprs for word in values[name]]
        entry = self.program.base + kernel.entry
        preloaded = kernel.preload & 0x7F
        if preloaded:  # the first arguments arrive in SGPRs; code that expects this starts 256 bytes later
            at = 4 * (kernel.preload >> 7)
            user += list(arguments.view[at : at + 4 * preloaded].copy().view(np.uint32))
            entry += 256
        reserved = kernel.rsrc2 >> 1 & 31
        user = (user + [0] * reserved)[: max(reserved, len(user))]
        template[: len(user)] = user
        return template, len(user), entry

    def _machine(self) -> tuple[Machine, ctypes.Array]:
        program, options = self.program, self.options
        regions = [*self.regions, *self.own.regions]
        ranges = (Range * (len(regions) + 1))()
        for i, region in enumerate(regions):
            ranges[i] = Range(region.address, region.address + region.nbytes, int(region.writable), 0)
        ranges[len(regions)] = Range(program.base, program.base + program.code_object.memory_bytes, 1, 0)
        return Machine(
            prog=ctypes.addressof(program.records),
            base=program.base + program.first,
            n=program.count,
            ranges=ctypes.addressof(ranges),
            nranges=len(ranges),
            ws=self.target.wave,
            lds_size=self.lds_bytes,
            scratch_stride=self.scratch_bytes,
            m0=self.target.m0,
            check=int(options.check),
            profile=int(options.profile),
            line=LINE_BYTES,
            strict_wmma=int(options.strict_wmma),
            limit=options.limit,
            trace=options.trace.address if options.trace else None,
            trace_room=len(options.trace.entries) if options.trace else 0,
        ), ranges

    def _run_blocks(self, state: _State, blocks: Sequence[tuple[int, int, int]]) -> None:
        vm, options, count = core(), self.options, self.waves_per_block * len(blocks)
        for slot, block in enumerate(blocks):
            first = ctypes.byref(state.waves, slot * self.waves_per_block * ctypes.sizeof(Wave))
            vm.vm_start(
                ctypes.byref(state.machine),
                first,
                ctypes.byref(state.start),
                (ctypes.c_uint32 * 3)(*block),
                slot,
                state.alive,
                state.arrived,
            )
        while True:
            status = vm.vm_sched(
                ctypes.byref(state.machine),
                state.waves,
                count,
                options.quantum,
                int(options.reverse),
                state.alive,
                state.arrived,
            )
            if status == STATUS["ST_END"]:
                return
            wave = state.waves[state.machine.wave]
            if status != STATUS["ST_NEED"]:
                raise fault(status, state.machine, wave, self.program, self.kernel, blocks[wave.group], self.regions)
            self.program.fill(wave.pc - self.program.base)

    def _counts(self) -> list[InstructionCount]:
        program, found = self.program, []
        for i in range(program.count):
            record: Inst = program.records[i]
            address = program.first + 4 * i
            if record.count and address in program.lines:
                found.append(
                    InstructionCount(
                        address, program.lines[address].text, record.count, record.lanes, record.bytes, record.lines
                    )
                )
        return found


@dataclass
class _State:
    """Resident waves. keep: arrays that the structs point into."""

    machine: Machine
    waves: ctypes.Array
    start: Start
    alive: ctypes.Array
    arrived: ctypes.Array
    keep: tuple


def _all_blocks(grid) -> list[tuple[int, int, int]]:
    return [(x, y, z) for z in range(grid[2]) for y in range(grid[1]) for x in range(grid[0])]


def _unique(items: list) -> list:
    return list({id(item): item for item in items}.values())


def _words(address: int) -> list[int]:
    return [address & 0xFFFFFFFF, address >> 32]


def _triple(size) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, (int, np.integer)) else tuple(size)
    return tuple(int(n) for n in sizes + (1,) * (3 - len(sizes)))

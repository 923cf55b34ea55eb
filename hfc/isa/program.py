"""A code object in memory: relocated, decoded, and lowered instruction by instruction as execution reaches them."""

from __future__ import annotations

import ctypes
import mmap
import re
import struct
from functools import lru_cache

from hfc.isa.alu import lower_alu
from hfc.isa.code_object import CodeObject
from hfc.isa.control import lower_control
from hfc.isa.disassemble import disassemble
from hfc.isa.errors import KernelFault, Unsupported
from hfc.isa.line import Line
from hfc.isa.machine import Inst
from hfc.isa.memory import lower_lds, lower_vector_memory
from hfc.isa.special import lower_convert8, lower_lanes, lower_matrix
from hfc.isa.target import Target

ABS32_LO, ABS32_HI, ABS64, RELATIVE64 = 1, 2, 3, 13


def lower(line: Line, target: Target, lines: dict[int, Line]) -> tuple[Inst, list]:
    """The record of one instruction, and what must stay alive with it."""
    if "::" in line.text:
        return lower_alu(line, target)
    record = lower_convert8(line, target) or lower_control(line, target) or lower_lanes(line, target, lines)
    if record is not None:
        return record, []
    if re.match(r"(global|flat|scratch|buffer)_", line.name):
        return lower_vector_memory(line, target), []
    if line.name.startswith("ds_"):
        return lower_lds(line, target), []
    if re.match(r"v_(wmma|mfma|swmmac|smfmac)_", line.name):
        return lower_matrix(line, target), []
    if not line.name.startswith(("v_", "s_")):
        raise Unsupported(line.text)
    return lower_alu(line, target)


class KernelProgram:
    """The image of a code object at `base`, and the instruction records of its text for one target."""

    def __init__(self, code_object: CodeObject, target: Target):
        self.code_object, self.target = code_object, target
        self.lines = disassemble(code_object.data)
        self._memory = mmap.mmap(-1, (code_object.memory_bytes + 8191) & ~4095)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for address, offset, size, _ in code_object.segments:
            self._memory[address : address + size] = code_object.data[offset : offset + size]
        self._relocate()
        self.first, last = code_object.text
        self.count = (last - self.first) // 4
        self.records = (Inst * self.count)()
        self._alive: list = []

    def _relocate(self) -> None:
        for address, kind, symbol, addend in self.code_object.relocations:
            value = self.base + symbol + addend
            if kind in (RELATIVE64, ABS64):
                struct.pack_into("<Q", self._memory, address, value & (1 << 64) - 1)
            elif kind in (ABS32_LO, ABS32_HI):
                struct.pack_into("<I", self._memory, address, value >> (32 if kind == ABS32_HI else 0) & 0xFFFFFFFF)
            elif kind:
                raise Unsupported(f"{self.code_object.name}: relocation type {kind} at {address:#x}")

    def fill(self, address: int) -> None:
        """Lower the instruction at `address` of the code object. Raises Unsupported with its address and text."""
        line = self.lines.get(address)
        if line is None:
            raise KernelFault(
                f"{self.code_object.name}: no instruction at {address:#x}: a jump into data or into the middle of one"
            )
        try:
            record, alive = lower(line, self.target, self.lines)
        except Unsupported as error:
            at = f"{address:#x}" + (f" ({line.source})" if line.source else "")
            what = f"{self.code_object.name}: {self.target.arch} instruction at {at} cannot be emulated"
            raise Unsupported(f"{what}: {line.text}: {error.message}") from None
        self._alive += alive
        self.records[(address - self.first) // 4] = record

    def clear_counts(self) -> None:
        for record in self.records:
            record.count = record.lanes = record.bytes = record.lines = 0

    def refused(self) -> dict[str, str]:
        """Instructions that could not run -> why, over the whole text."""
        found: dict[str, str] = {}
        for address, line in self.lines.items():
            if line.name != "s_code_end":
                try:
                    self.fill(address)
                except Unsupported as error:
                    found.setdefault(line.name, error.message)
        return found


@lru_cache(maxsize=64)
def load_code_object(data: bytes, name: str) -> CodeObject:
    return CodeObject(name, data)


@lru_cache(maxsize=64)
def load_program(code_object: CodeObject, target: Target) -> KernelProgram:
    return KernelProgram(code_object, target)

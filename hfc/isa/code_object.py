"""An AMDGPU code object (ELF, versions 4 to 6) -> its segments, relocations, kernels and metadata.

Source: LLVM's "User Guide for AMDGPU Backend" (ELF code object, kernel descriptor, code object metadata).
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.isa.errors import Unsupported

EM_AMDGPU = 224
MACHINES = {
    0x2C: "gfx900",
    0x2D: "gfx902",
    0x2E: "gfx904",
    0x2F: "gfx906",
    0x30: "gfx908",
    0x31: "gfx909",
    0x32: "gfx90c",
    0x33: "gfx1010",
    0x34: "gfx1011",
    0x35: "gfx1012",
    0x36: "gfx1030",
    0x37: "gfx1031",
    0x38: "gfx1032",
    0x39: "gfx1033",
    0x3E: "gfx1034",
    0x3D: "gfx1035",
    0x45: "gfx1036",
    0x3F: "gfx90a",
    0x40: "gfx940",
    0x4B: "gfx941",
    0x4C: "gfx942",
    0x4F: "gfx950",
    0x41: "gfx1100",
    0x46: "gfx1101",
    0x47: "gfx1102",
    0x44: "gfx1103",
    0x43: "gfx1150",
    0x4A: "gfx1151",
    0x55: "gfx1152",
    0x58: "gfx1153",
    0x48: "gfx1200",
    0x4E: "gfx1201",
    0x51: "gfx9-generic",
    0x52: "gfx10-1-generic",
    0x53: "gfx10-3-generic",
    0x54: "gfx11-generic",
    0x59: "gfx12-generic",
    0x5F: "gfx9-4-generic",
}  # EF_AMDGPU_MACH of the ELF header
USER_SGPRS = (
    ("private_segment_buffer", 4),
    ("dispatch_ptr", 2),
    ("queue_ptr", 2),
    ("kernarg_ptr", 2),
    ("dispatch_id", 2),
    ("flat_scratch_init", 2),
    ("private_segment_size", 1),
)
PT_LOAD, PT_NOTE, SHT_RELA, SYMBOL_TABLES, NT_AMDGPU_METADATA = 1, 4, 4, (2, 11), 32


@dataclass(frozen=True)
class KernelDescriptor:
    """A kernel descriptor and its metadata. entry, descriptor: addresses in the image; sizes in bytes."""

    name: str
    descriptor: int
    entry: int
    lds_bytes: int
    scratch_bytes: int
    argument_bytes: int
    rsrc1: int
    rsrc2: int
    rsrc3: int
    properties: int
    preload: int
    arguments: tuple[dict, ...]
    metadata: dict

    @property
    def user_sgprs(self) -> list[str]:
        """What is loaded into the first SGPRs, in order."""
        return [name for bit, (name, _) in enumerate(USER_SGPRS) if self.properties >> bit & 1]

    @property
    def wave32(self) -> bool:
        return bool(self.properties >> 10 & 1)

    @property
    def dynamic_stack(self) -> bool:
        return bool(self.properties >> 11 & 1)


@dataclass(frozen=True)
class CodeObject:
    """name: for messages.  arch: the gfx name in the ELF header."""

    name: str
    data: bytes

    def __post_init__(self) -> None:
        if self.data[:4] == b"__CL":
            raise Unsupported(
                f"{self.name}: an offload bundle, not a code object", hint="compile with --no-gpu-bundle-output"
            )
        if (
            len(self.data) < 64
            or self.data[:4] != b"\x7fELF"
            or struct.unpack_from("<H", self.data, 18)[0] != EM_AMDGPU
        ):
            raise Unsupported(
                f"{self.name}: not an AMDGPU code object",
                hint="it must be an ELF file that clang linked for amdgcn-amd-amdhsa",
            )

    @cached_property
    def arch(self) -> str:
        machine = struct.unpack_from("<I", self.data, 48)[0] & 0xFF
        return MACHINES.get(machine, f"machine {machine:#x}")

    @cached_property
    def segments(self) -> list[tuple[int, int, int, int]]:
        """(address, file offset, bytes in the file, bytes in memory) of what is loaded."""
        return [(p[3], p[2], p[5], p[6]) for p in self._program_headers if p[0] == PT_LOAD]

    @property
    def memory_bytes(self) -> int:
        return max(address + size for address, _, _, size in self.segments)

    @cached_property
    def text(self) -> tuple[int, int]:
        """First and last address of executable sections."""
        parts = [(s[3], s[3] + s[5]) for s in self._sections if s[1] == 1 and s[2] & 4]
        return min(a for a, _ in parts), max(b for _, b in parts)

    @cached_property
    def symbols(self) -> dict[str, tuple[int, int]]:
        """name -> (address, bytes) of every defined symbol."""
        found = {}
        for section in self._sections:
            if section[1] not in SYMBOL_TABLES:
                continue
            strings = self._sections[section[6]][4]
            for i in range(section[5] // 24):
                name, _, _, index, value, size = struct.unpack_from("<IBBHQQ", self.data, section[4] + 24 * i)
                text = self.data[strings + name : self.data.index(b"\0", strings + name)].decode()
                if text and index:
                    found[text] = (value, size)
        return found

    @cached_property
    def relocations(self) -> list[tuple[int, int, int, int]]:
        """(address, type, symbol value, addend) of the dynamic relocations."""
        found = []
        for section in self._sections:
            if section[1] != SHT_RELA or not (section[2] & 2 or section[6]):
                continue
            symbols = self._sections[section[6]][4]
            for i in range(section[5] // 24):
                offset, info, addend = struct.unpack_from("<QQq", self.data, section[4] + 24 * i)
                symbol = info >> 32
                value = struct.unpack_from("<Q", self.data, symbols + 24 * symbol + 8)[0] if symbol else 0
                found.append((offset, info & 0xFFFFFFFF, value, addend))
        return found

    @cached_property
    def metadata(self) -> dict:
        for header in self._program_headers:
            at, end = header[2], header[2] + header[5]
            while header[0] == PT_NOTE and at < end:
                name_bytes, data_bytes, kind = struct.unpack_from("<III", self.data, at)
                data = at + 12 + (name_bytes + 3) // 4 * 4
                if kind == NT_AMDGPU_METADATA:
                    return unpack(self.data[data : data + data_bytes])[0]
                at = data + (data_bytes + 3) // 4 * 4
        return {}

    @cached_property
    def kernels(self) -> dict[str, KernelDescriptor]:
        return {record[".name"]: self._kernel(record) for record in self.metadata.get("amdhsa.kernels", [])}

    def _kernel(self, record: dict) -> KernelDescriptor:
        address = self.symbols[record[".symbol"]][0]
        at = next(
            offset + address - start for start, offset, size, _ in self.segments if start <= address < start + size
        )
        lds, scratch, arguments = struct.unpack_from("<III", self.data, at)
        entry = struct.unpack_from("<q", self.data, at + 16)[0]
        rsrc3, rsrc1, rsrc2, properties, preload = struct.unpack_from("<IIIHH", self.data, at + 44)
        return KernelDescriptor(
            record[".name"],
            address,
            address + entry,
            lds,
            scratch,
            arguments,
            rsrc1,
            rsrc2,
            rsrc3,
            properties,
            preload,
            tuple(record.get(".args", [])),
            record,
        )

    @cached_property
    def _program_headers(self) -> list[tuple]:
        """(type, flags, offset, address, physical, file bytes, memory bytes, align)."""
        start = struct.unpack_from("<Q", self.data, 32)[0]
        size, count = struct.unpack_from("<HH", self.data, 54)
        return [struct.unpack_from("<IIQQQQQQ", self.data, start + i * size) for i in range(count)]

    @cached_property
    def _sections(self) -> list[tuple]:
        """(name, type, flags, address, offset, bytes, link, info, align, entry bytes)."""
        start = struct.unpack_from("<Q", self.data, 40)[0]
        size, count = struct.unpack_from("<HH", self.data, 58)
        return [struct.unpack_from("<IIQQQQIIQQ", self.data, start + i * size) for i in range(count)]


_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One MessagePack value (what AMDGPU metadata uses) and the place after it."""
    tag = data[at]
    at += 1
    if tag < 0x80 or tag >= 0xE0:
        return tag if tag < 0x80 else tag - 256, at
    if tag < 0x90 or tag in (0xDE, 0xDF):
        count, at = (tag & 15, at) if tag < 0x90 else _length(data, tag, at)
        flat, at = _sequence(data, 2 * count, at)
        return dict(zip(flat[::2], flat[1::2])), at
    if tag < 0xA0 or tag in (0xDC, 0xDD):
        count, at = (tag & 15, at) if tag < 0xA0 else _length(data, tag, at)
        return _sequence(data, count, at)
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if tag in _NUMBERS:
        return struct.unpack_from(_NUMBERS[tag], data, at)[0], at + struct.calcsize(_NUMBERS[tag])
    count, at = (tag & 31, at) if tag < 0xC0 else _length(data, tag, at)
    part = data[at : at + count]
    return part if 0xC4 <= tag <= 0xC6 else part.decode(), at + count


def _length(data: bytes, tag: int, at: int) -> tuple[int, int]:
    size = _LENGTHS[tag]
    return int.from_bytes(data[at : at + size], "big"), at + size


def _sequence(data: bytes, count: int, at: int) -> tuple[list, int]:
    found = []
    for _ in range(count):
        value, at = unpack(data, at)
        found.append(value)
    return found, at

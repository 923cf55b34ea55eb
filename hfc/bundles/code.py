"""Code objects of a bundle against its plan: every kernel is there, takes as many arguments as its launches give, fits the card."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.plan import Kernel, Launch, Plan
from hfc.target.arch import Arch, find_arch
from hfc.target.platform import AMDGCN, PTX

ELF = b"\x7fELF\x02\x01"  # 64 bits, little endian
NOTE_SECTION = 7
AMDGPU_METADATA = 32  # type of the note that describes an AMD code object's kernels
POINTER_BYTES = 8
HIDDEN = "hidden_"  # arguments that the driver adds
ENTRY = re.compile(rb"\.entry\s+(\w+)\s*\(([^)]*)\)")
PARAMETER = re.compile(rb"\.param\s+\.(\w+)")


@dataclass(frozen=True)
class FoundCode:
    """What a code object says of one kernel. arguments: those that a launch gives."""

    arguments: int
    lds_bytes: int


def check_code(plan: Plan, files: Mapping[str, bytes], where: str) -> None:
    """HfcError for a kernel that its file does not hold, or that asks for more than a launch gives."""
    arch = find_arch(plan.arch)
    if not arch.platform.is_gpu:
        return
    read = READERS[arch.platform.assembly]
    found = {kernel.symbol: _kernel(kernel, read, files, where) for kernel in plan.kernels}
    for name, launches in plan.programs.items():
        for i, launch in enumerate(launches):
            if not launch.product and not launch.is_by_runtime:
                given = len(launch.pointers) + 1  # and the step buffer
                _check_launch(launch, given, found[launch.kernel], arch, f"{where}: launch {i} of {name}")


def _check_launch(launch: Launch, given: int, found: FoundCode, arch: Arch, where: str) -> None:
    if given != found.arguments:
        raise HfcError(
            f"{where} gives {given} arguments, the code of {launch.kernel} takes {found.arguments}",
            hint="compile it again",
        )
    if found.lds_bytes + launch.lds_bytes > arch.most_lds_bytes:
        raise HfcError(
            f"{where} needs {found.lds_bytes + launch.lds_bytes} bytes of LDS, {arch.name} has {arch.most_lds_bytes}"
        )


def _kernel(
    kernel: Kernel, read: Callable[[bytes], dict[str, FoundCode]], files: Mapping[str, bytes], where: str
) -> FoundCode:
    try:
        kernels = read(files[kernel.file])
    except (struct.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise HfcError(
            f"{where}: {kernel.file} is no code object that can be read: {error}", hint="compile it again"
        ) from error
    if kernel.symbol not in kernels:
        raise HfcError(
            f"{where}: {kernel.file} holds {', '.join(kernels)[:80] or 'nothing'}; {kernel.symbol} is expected",
            hint="compile it again",
        )
    return kernels[kernel.symbol]


def _read_ptx(text: bytes) -> dict[str, FoundCode]:
    """PTX: the driver compiles it, and knows its shared memory."""
    found = {}
    for entry in ENTRY.finditer(text):
        kinds = PARAMETER.findall(entry[2])
        if set(kinds) - {b"u64", b"b64"}:
            raise ValueError(f"a parameter of type {sorted(set(kinds))[0].decode()}")
        found[entry[1].decode()] = FoundCode(len(kinds), 0)
    return found


def _read_amd(data: bytes) -> dict[str, FoundCode]:
    for note in _notes(data):
        described = msgspec.msgpack.decode(note, type=_Metadata)
        return {kernel.name: kernel.found() for kernel in described.kernels}
    return {}


class _Argument(msgspec.Struct, rename=lambda name: f".{name}"):
    value_kind: str
    size: int


class _Kernel(msgspec.Struct, rename=lambda name: f".{name}"):
    name: str
    group_segment_fixed_size: int
    kernarg_segment_size: int
    args: list[_Argument] = []

    def found(self) -> FoundCode:
        own = [argument for argument in self.args if not argument.value_kind.startswith(HIDDEN)]
        if any(argument.size != POINTER_BYTES for argument in own) or self.kernarg_segment_size < POINTER_BYTES * len(
            own
        ):
            raise ValueError(f"{self.name[:60]}: arguments that are no pointers")
        if not 0 <= self.group_segment_fixed_size < 1 << 32:
            raise ValueError(f"{self.name[:60]}: {self.group_segment_fixed_size} bytes of LDS")
        return FoundCode(len(own), self.group_segment_fixed_size)


class _Metadata(msgspec.Struct):
    kernels: list[_Kernel] = msgspec.field(name="amdhsa.kernels")


def _notes(data: bytes) -> Iterator[Any]:
    """Descriptions of the notes of type AMDGPU_METADATA."""
    if data[: len(ELF)] != ELF:
        raise ValueError("not a 64-bit ELF file")
    (sections,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    for i in range(count):
        _, kind, _, _, offset, length = struct.unpack_from("<IIQQQQ", data, sections + i * size)
        end = offset + length
        while kind == NOTE_SECTION and offset + 12 <= min(end, len(data)):
            name_bytes, description_bytes, note = struct.unpack_from("<III", data, offset)
            start = offset + 12 + -(-name_bytes // 4) * 4
            if note == AMDGPU_METADATA:
                yield data[start : start + description_bytes]
            offset = start + -(-description_bytes // 4) * 4


READERS: dict[str, Callable[[bytes], dict[str, FoundCode]]] = {AMDGCN: _read_amd, PTX: _read_ptx}

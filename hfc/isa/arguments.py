"""A kernel's arguments -> the block of bytes that it reads them from, and the dispatch packet beside it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.isa.arena import Arena, Region
from hfc.isa.code_object import KernelDescriptor
from hfc.isa.machine import PRIVATE_HI, SHARED_HI

PACKET_BYTES = 64
SLACK_BYTES = 256  # the compiler may widen scalar loads past the last argument

Size = tuple[int, int, int]


def argument_arena(kernel: KernelDescriptor) -> Arena:
    """Room for the argument block and the dispatch packet."""
    return Arena(
        [
            ("arguments", max(kernel.argument_bytes, 16) + SLACK_BYTES, False),
            ("dispatch packet", PACKET_BYTES, False),
        ]
    )


def dynamic_lds_start(kernel: KernelDescriptor) -> int:
    return (kernel.lds_bytes + 15) // 16 * 16


def fill_arguments(
    arena: Arena, kernel: KernelDescriptor, base: int, grid: Size, block: Size, arguments: list, shared: int
) -> None:
    """base: address of the code object's image. The packet is HSA's kernel dispatch packet."""
    arguments_at, packet = arena.regions
    data = _argument_bytes(kernel, grid, block, arguments, shared)
    arguments_at.view[: len(data)] = np.frombuffer(data, np.uint8)
    sizes = (grid[d] * block[d] for d in range(3))
    segments = (kernel.scratch_bytes, kernel.lds_bytes + shared)
    addresses = (base + kernel.descriptor, arguments_at.address, 0, 0)
    fields = struct.pack("<HHHHHHIIIIIQQQQ", 0, 3, *block, 0, *sizes, *segments, *addresses)
    packet.view[:] = np.frombuffer(fields, np.uint8)


def _argument_bytes(kernel: KernelDescriptor, grid: Size, block: Size, arguments: list, shared: int) -> bytes:
    kinds = [a[".value_kind"] for a in kernel.arguments if not a[".value_kind"].startswith("hidden_")]
    if len(kinds) != len(arguments):
        raise HfcError(f"{kernel.name} takes {len(kinds)} arguments ({', '.join(kinds)}), got {len(arguments)}")
    hidden = _hidden(grid, block, shared)
    data, given = bytearray(kernel.argument_bytes), iter(arguments)
    for argument in kernel.arguments:
        offset, size, kind = argument[".offset"], argument[".size"], argument[".value_kind"]
        if kind.startswith("hidden_"):
            value = int(hidden.get(kind, 0)).to_bytes(size, "little")
        elif kind == "dynamic_shared_pointer":
            next(given)
            value = struct.pack("<I", dynamic_lds_start(kernel))
        elif kind == "global_buffer":
            pointer = next(given)
            value = struct.pack("<Q", pointer.address if isinstance(pointer, Region) else int(pointer or 0))
        else:
            value = _scalar_bytes(next(given), size, kernel.name)
        data[offset : offset + size] = value
    return bytes(data)


def _hidden(grid: Size, block: Size, shared: int) -> dict[str, int]:
    """What the compiler adds after the kernel's own arguments (code object version 5)."""
    values = {f"hidden_block_count_{axis}": n for axis, n in zip("xyz", grid)}
    values |= {f"hidden_group_size_{axis}": n for axis, n in zip("xyz", block)}
    threads = [g * b for g, b in zip(grid, block)]
    return values | {
        "hidden_grid_dims": 3 if threads[2] > 1 else 2 if threads[1] > 1 else 1,
        "hidden_dynamic_lds_size": shared,
        "hidden_private_base": PRIVATE_HI,
        "hidden_shared_base": SHARED_HI,
    }


def _scalar_bytes(value: Any, size: int, kernel: str) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
    elif isinstance(value, (np.ndarray, np.generic)):
        data = value.tobytes()
    elif isinstance(value, float):
        data = struct.pack({2: "<e", 4: "<f", 8: "<d"}[size], value)
    else:
        data = int(value).to_bytes(size, "little", signed=int(value) < 0)
    if len(data) != size:
        raise HfcError(f"{kernel}: an argument of {len(data)} bytes for a parameter of {size}")
    return data

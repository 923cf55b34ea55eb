"""Operands as llvm-objdump prints them -> register codes and constants."""

from __future__ import annotations

import re
import struct

from hfc.isa.errors import Unsupported
from hfc.isa.machine import AGPR, JUNK, LITERAL, NULL_READ, VGPR, Inst
from hfc.isa.target import Target

SPECIAL = {
    "vcc": 106,
    "vcc_lo": 106,
    "vcc_hi": 107,
    "exec": 126,
    "exec_lo": 126,
    "exec_hi": 127,
    "scc": 253,
    "src_scc": 253,
    "flat_scratch": 102,
    "flat_scratch_lo": 102,
    "flat_scratch_hi": 103,
    "xnack_mask": 104,
    "xnack_mask_lo": 104,
    "xnack_mask_hi": 105,
}
REGISTER = re.compile(r"(v|s|a|ttmp)(?:(\d+)|\[(\d+):(\d+)\])(?:\.[lh])?")
FIRST = {"s": 0, "v": VGPR, "a": AGPR, "ttmp": 108}


def register(token: str, target: Target, written: bool = False) -> int | None:
    """The code of a register, None for something else."""
    if found := REGISTER.fullmatch(token):
        return FIRST[found[1]] + int(found[2] or found[3])
    if token == "m0":
        return target.m0
    if token == "null":
        return JUNK if written else NULL_READ
    return SPECIAL.get(token)


def code(token: str, target: Target, record: Inst | None = None, written: bool = False) -> int:
    """Register code, -1 for off; a constant is stored in `record` and gets a code from LITERAL on."""
    if token == "off":
        return -1
    found = register(token, target, written)
    if found is not None:
        return found
    if record is None:
        raise Unsupported(f"operand {token}")
    index = record.p[19]
    record.lit[index] = _signed(constant(token, "u32", 1)[0])
    record.p[19] = index + 1
    return LITERAL + index


def row_count(token: str) -> int:
    """How many 32-bit registers an operand names."""
    found = REGISTER.fullmatch(token)
    return int(found[4]) - int(found[3]) + 1 if found and found[4] else 1


def constant(token: str, format_: str, rows: int) -> tuple[int, int]:
    """The two rows of an inline constant or literal, as an operand of type `format_` ("f16", "u64") reads it."""
    if re.fullmatch(r"-?\d+\.\d+(e[-+]?\d+)?", token):
        return _float_constant(float(token), format_)
    if not re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", token):
        raise Unsupported(f"operand {token}")
    number = int(token, 0)
    if format_ == "f64" and token.startswith("0x"):
        return 0, number & 0xFFFFFFFF  # a literal is the upper half of a double
    extended = number < 0 or format_[0] == "i" and number >> 31 & 1 and rows == 2
    return number & 0xFFFFFFFF, 0xFFFFFFFF if extended else number >> 32 & 0xFFFFFFFF


def _float_constant(number: float, format_: str) -> tuple[int, int]:
    inverse_tau = abs(number) == 0.15915494
    if format_ == "f64":
        bits = 0x3FC45F306DC9C882 if inverse_tau else struct.unpack("<Q", struct.pack("<d", number))[0]
        return bits & 0xFFFFFFFF, bits >> 32
    if format_ == "f16":
        return struct.unpack("<H", struct.pack("<e", number))[0], 0
    bits = struct.unpack("<I", struct.pack("<f", number))[0]
    return (bits >> 16 if format_ == "bf16" else bits), 0


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def bit_list(text: str) -> int:
    """ "[1,0,1]" -> 0b101."""
    return sum(int(x) << i for i, x in enumerate(text.strip("[]").split(",")))

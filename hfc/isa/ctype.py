"""Typed C expressions: what the pseudocode's types become, and how one is read as another."""

from __future__ import annotations

import re
from dataclasses import replace

from hfc.base.dataclass import dataclass


class Untranslatable(Exception):
    """This pseudocode has no C form here; the instruction is refused with this reason if a kernel executes it."""


@dataclass(frozen=True)
class CValue:
    """A C expression. kind: "u" unsigned or raw bits, "i" signed, "f" float, "bf" bfloat16 as u16, "fp8"/"bf8" as u8,
    "denorm" the pseudocode's DENORM.  bits: logical width; integers below 32 bits are C ints that hold no more.
    sign: +1 / -1 for an explicitly signed zero."""

    code: str
    kind: str
    bits: int
    is_literal: bool = False
    sign: int = 0

    @property
    def ctype(self) -> str:
        if self.kind == "f":
            return f"f{self.bits}"
        if self.kind == "i":
            return {True: "i32"}.get(self.bits <= 32, "i64" if self.bits <= 64 else "__int128")
        return "u32" if self.bits <= 32 else "u64" if self.bits <= 64 else "unsigned __int128"

    def truth(self) -> str:
        return self.code if self.bits == 1 and self.kind == "u" else f"(({self.code}) != 0)"

    def number(self) -> str:
        """The plain digits of a constant, else the code."""
        match = re.fullmatch(r"\(?(0x[0-9a-f]+|\d+)[ul]*\)?", self.code)
        return str(int(match[1], 0)) if match else self.code

    def map(self, pattern: str) -> CValue:
        return replace(self, code=pattern.format(self.code))


FLOAT_CONSTANTS = {
    "NAN": CValue('__builtin_nan("")', "f", 64),
    "INF": CValue("__builtin_inf()", "f", 64),
    "UNDERFLOW_F32": CValue("0.0f", "f", 32),  # |quotient| < 2^-150 rounds to 0 in the only mode kernels use
    "OVERFLOW_F32": CValue("__builtin_inff()", "f", 32),
    "UNDERFLOW_F64": CValue("0.0", "f", 64),
    "OVERFLOW_F64": CValue("__builtin_inf()", "f", 64),
}


def parse_type(text: str) -> tuple[str, int]:
    """(kind, bits) of u32, i24, f16, bf16, fp8 or 32'U. Raises Untranslatable."""
    if match := re.fullmatch(r"(\d+)'([UIFB])", text):
        return {"U": "u", "I": "i", "F": "f", "B": "u"}[match[2]], int(match[1])
    if text in ("bf16", "fp8", "bf8"):
        return {"bf16": "bf"}.get(text, text), 16 if text == "bf16" else 8
    if match := re.fullmatch(r"([uifb])(\d+)", text):
        kind, bits = {"b": "u"}.get(match[1], match[1]), int(match[2])
        if bits <= 128 and (kind != "f" or bits in (16, 32, 64)):
            return kind, bits
    raise Untranslatable(f"type {text}")


def integer(number: int, kind: str, bits: int) -> CValue:
    suffix = "u" if kind == "u" else ""
    return CValue(
        f"{number}{suffix}{'ll' if bits > 32 else ''}" if number <= 0x7FFFFFFF or bits > 32 else f"{number}u",
        kind,
        bits,
        True,
    )


def raw(value: CValue, bits: int) -> CValue:
    """The bits of a value as an unsigned number of at least its own width."""
    if value.kind == "f":
        value = CValue(f"bits_f{value.bits}({value.code})", "u", value.bits)
    wide = 64 if max(bits, value.bits) > 32 else 32
    if value.kind == "i" and value.bits < 32 or value.kind == "i" and bits > value.bits:
        mask = f"0x{(1 << value.bits) - 1:x}" + ("ull" if value.bits > 32 else "u")
        return CValue(f"((u{wide})({value.code}) & {mask})", "u", value.bits)
    return CValue(f"((u{wide})({value.code}))", "u", value.bits)


def convert(value: CValue, kind: str, bits: int) -> CValue:
    """The same number in another type (the same bits, where a float becomes an integer)."""
    if kind == value.kind and bits == value.bits:
        return (
            value if kind != "f" or value.code.startswith("((f") else replace(value, code=f"((f{bits})({value.code}))")
        )
    if kind == "f":
        return CValue(f"((f{bits})({value.code}))", "f", bits, sign=value.sign)
    if value.kind == "f":
        value = raw(value, value.bits)
    target = CValue("", kind, bits)
    if bits < 32 and bits < value.bits:
        return reinterpret(value, f"{kind}{bits}") if kind in "ui" else replace(value, kind=kind, bits=bits)
    literal = value.is_literal and kind == value.kind
    return CValue(f"(({target.ctype})({value.code}))", kind, bits, literal)


def reinterpret(value: CValue, type_: str) -> CValue:
    """`value.type`: its bits, read as `type_`."""
    kind, bits = parse_type(type_)
    if kind == "f":
        if value.kind == "f":
            return convert(value, "f", bits)
        return CValue(f"float_f{bits}({raw(value, bits).code})", "f", bits)
    if value.kind == "f":
        value = raw(value, value.bits)
    if bits > 64:
        return convert(value, kind, bits)
    wide = 64 if bits > 32 else 32
    if kind == "i":
        if value.kind == "i" and value.bits <= bits or bits == value.bits == wide or bits > value.bits:
            return CValue(f"((i{wide})({value.code}))", "i", bits)
        shift = wide - bits
        code = (
            f"((i{wide})({raw(value, wide).code}))"
            if not shift
            else f"((i{wide})((u{wide}){raw(value, wide).code} << {shift}) >> {shift})"
        )
        return CValue(code, "i", bits)
    if value.kind == "i" and value.bits < bits:
        return CValue(f"((u{wide})({value.code}))", kind, bits)
    code = f"((u{wide})({value.code}))"
    if bits not in (32, 64) and not (value.kind != "i" and value.bits <= bits):
        code = f"({code} & 0x{(1 << bits) - 1:x}u)" if bits < 32 else f"({code} & 0x{(1 << bits) - 1:x}ull)"
    return CValue(code, kind, bits)

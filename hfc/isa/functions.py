"""The functions that AMD's pseudocode calls, as calls of semantics.h."""

from __future__ import annotations

import re

from hfc.isa.ctype import CValue, Untranslatable, convert, parse_type, raw, reinterpret

SAME_TYPE = {
    "abs",
    "floor",
    "trunc",
    "sqrt",
    "fract",
    "log2",
    "sin",
    "cos",
    "mantissa",
    "cvtToQuietNAN",
    "rint",
    "sin_turns",
    "cos_turns",
}
TESTS = {"isNAN", "isSignalNAN", "isQuietNAN", "sign", "isEven"}


def call_builtin(instruction: str, name: str, values: list[CValue]) -> CValue:
    """Raises Untranslatable for a function that is not known."""
    first = values[0]
    if name in SAME_TYPE and first.kind == "f":
        return CValue(f"{name}_f{first.bits}({first.code})", "f", first.bits)
    if name in TESTS and first.kind == "f":
        return CValue(f"{name}_f{first.bits}({first.code})", "u", 1)
    if name == "exponent":
        return CValue(f"exponent_f{first.bits}({first.code})", "i", 32)
    if name == "frexp_exponent":
        return CValue(f"frexp_exponent_f{first.bits}({first.code})", "i", 32)
    if name == "fma":
        bits = max(v.bits for v in values)
        codes = ", ".join(convert(v, "f", bits).code for v in values)
        return CValue(f"fma_f{bits}({codes})", "f", bits)
    if name == "fma_scaled":
        codes = ", ".join(v.code for v in values)
        return CValue(f"fma_scaled_f{first.bits}({codes})", "f", first.bits)
    if name == "ldexp":
        return CValue(f"ldexp_f{first.bits}({first.code}, {values[1].code})", "f", first.bits)
    if name == "pow" and re.fullmatch(r"\(*(\(f\d+\))?\(*2\.0f?\)*", first.code):
        return CValue(f"exp2_f{values[1].bits}({values[1].code})", "f", values[1].bits)
    if name == "signext":
        return CValue(f"((i64)({reinterpret(first, f'i{first.bits}').code}))", "i", 64)
    if name == "signext_from_bit":
        wide = 64 if first.bits > 32 else 32
        return CValue(f"signext_from_bit_{wide}({first.code}, {values[1].code})", "i", wide)
    if name in ("countbits", "bitCount"):
        return CValue(f"((u32)__builtin_popcountll({raw(first, 64).code}))", "u", 32)
    if name in ("sat_i16", "sat_u16", "sat_i32", "sat_u32"):
        kind, bits = parse_type(name[4:])
        return CValue(f"{name}({convert(first, 'i', 64).code})", kind, bits)
    if match := re.fullmatch(r"([a-z]+\d+)_to_([a-z]+\d*?)(_rtz|norm)?", name):
        return _conversion(name, values, match)
    raise Untranslatable(f"{instruction}: the function {name} is not known")


def _conversion(name: str, values: list[CValue], match: re.Match) -> CValue:
    """f32_to_i32(x) and its like: semantics.h has one C function of that name for each."""
    source, target = match[1], "i16" if name.endswith("snorm") else "u16" if name.endswith("unorm") else match[2]
    if name not in CONVERSIONS:
        raise Untranslatable(f"the function {name} is not known")
    value = values[0]
    value = convert(value, "f", parse_type(source)[1]) if value.kind == "f" else reinterpret(value, source)
    return CValue(f"{name}({value.code})", *parse_type(target))


CONVERSIONS = {
    "f16_to_f32",
    "f32_to_f16",
    "f32_to_f16_rtz",
    "f32_to_f64",
    "f64_to_f32",
    "bf16_to_f32",
    "f32_to_bf16",
    "i32_to_f32",
    "u32_to_f32",
    "i32_to_f64",
    "u32_to_f64",
    "u16_to_f16",
    "i16_to_f16",
    "f32_to_i32",
    "f32_to_u32",
    "f64_to_i32",
    "f64_to_u32",
    "f16_to_i16",
    "f16_to_u16",
    "f32_to_u8",
    "i8_to_i32",
    "u8_to_u32",
    "i4_to_i32",
    "u4_to_u32",
    "i16_to_i32",
    "u16_to_u32",
    "u32_to_u16",
    "i32_to_i16",
    "f16_to_snorm",
    "f16_to_unorm",
    "f32_to_snorm",
    "f32_to_unorm",
}

"""One element of a block of weights as a C expression: what a BlockFormat declares, spelled for kernels of GPUs and of the host."""

from __future__ import annotations

from hfc.formats.block import BlockFormat
from hfc.formats.dtype import SCALARS
from hfc.formats.layout import Field


def element_source(form: BlockFormat, qualifier: str = "static inline") -> str:
    """C and HIP source of `<qualifier> float hfc_<name>_at(const uint8_t* block, int i)`.

    The including file defines uint8_t, uint16_t, uint32_t and the conversions named in formats/dtype.py
    (hfc_bits_to_f32, hfc_f16_to_f32, hfc_bf16_to_f32). Any alignment is right; 0 <= i < block.
    """
    head = f"{qualifier} float hfc_{form.name}_at(const uint8_t* block, int i) {{"
    if not form.quantized:
        return f"{head}\n  (void)i;\n  return {_field(form, form.fields[0])};\n}}\n"
    lines = [f"  {line}" for line in field_declarations(form)]
    for name in form.codes:
        kind, number = ("int", number_of(form, name)) if name == "q" and form.table else ("float", float_of(form, name))
        lines.append(f"  const {kind} {name} = {number};")
    number = "q"
    if form.table:
        lines.insert(0, f"  const signed char table[{len(form.table)}] = {{ {', '.join(map(str, form.table))} }};")
        number = "(float)table[q]"
    low = f" + ({form.min.c})" if form.min else ""
    return "\n".join([head, *lines, f"  return ({form.scale.c}) * {number}{low};", "}", ""])


def field_declarations(form: BlockFormat) -> list[str]:
    """C declarations of the fields that scale and min use by name, out of `block`."""
    return [f"const float {f.name} = {_field(form, f)};" for f in form.fields if form.is_number(f)]


def number_of(form: BlockFormat, name: str) -> str:
    """C: the integer that a code of element `i` stands for."""
    zero = form.codes[name].zero
    return f"({code_of(form, name)})" + (f" + ({zero})" if zero else "")


def float_of(form: BlockFormat, name: str) -> str:
    """C: the number of a code as a float."""
    number = number_of(form, name)
    return f"hfc_bits_to_f32((uint32_t)({number}) << 23)" if form.codes[name].power else f"(float)({number})"


def code_of(form: BlockFormat, name: str) -> str:
    """C: the unsigned code of element `i` of `block`."""
    planes = []
    for plane in form.codes[name].planes:
        byte = f"block[{form.offsets[plane.field]} + {plane.byte}]"
        byte = f"({byte} ^ 128)" if form.is_signed(plane.field) else byte
        bits = f"({byte} >> ({plane.shift}) & {2**plane.bits - 1})" if plane.bits < 8 else byte
        planes.append(f"{bits} << {plane.left}" if plane.left else bits)
    return " | ".join(planes)


def _field(form: BlockFormat, field: Field) -> str:
    scalar, at = SCALARS[field.dtype], form.offsets[field.name]
    return scalar.to_f32.format(scalar.c_load(f"(block + {at})" if at else "block"))

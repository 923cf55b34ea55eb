"""Rows of rotated keys in C: codes of a direction after its norm. Every size of the levels is tried, the best one is taken."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hfc.backend.lanes.kv_row import KvNarrow, KvRow, KvStat, c_number
from hfc.formats.kv_block import CODES_OF_UNIT, SIZES, KvRotated, angles


def rotated_row(form: KvRotated, qualifier: str) -> KvRow:
    assert form.head, "the head's size decides the levels: ask sized(head)"
    unit = tuple(f"j * {CODES_OF_UNIT[form.bits]} + {i}" for i in range(CODES_OF_UNIT[form.bits]))
    levels = f"hfc_kv_{form.name}_levels, {2**form.bits}"
    wide = f"hfc_levels16(__builtin_convertvector(hfc_load_u8(p), u32x16), {levels})"
    narrow = KvNarrow(1, wide, "", "0")
    return KvRow(_reader(form, qualifier), _writer(form, qualifier), unit, _stats(form.name), narrow=narrow)


def _stats(name: str) -> tuple[KvStat, ...]:
    """The square of the length; the errors at each of SIZES, of which the last makes the best one's inverse; the norm."""
    unit = "{x} * hfc_rsqrt({s0} > 0.0f ? {s0} : 1.0f)"
    errors = [f"hfc_kv_{name}_error({unit}, {c_number(size)}, {c_number(1 / size)})" for size in SIZES]
    finishes = ["r"] * (len(SIZES) - 1) + [
        f"hfc_kv_{name}_inverse({', '.join(f'{{s{i}}}' for i in range(1, len(SIZES)))}, r)"
    ]
    level = f"hfc_kv_{name}_level(hfc_kv_{name}_code({unit} * {{s{len(SIZES)}}}))"
    norm = KvStat("sum", f"{level} * {level}", "__builtin_sqrtf({s0} / r)")
    return (KvStat("sum", "{x} * {x}", "r"), *(KvStat("sum", e, f) for e, f in zip(errors, finishes)), norm)


def _reader(form: KvRotated, qualifier: str) -> str:
    levels, name = form.levels(form.head), form.name
    middles = (levels[1:] + levels[:-1]) / 2
    above = " + ".join(f"(x > {np.float32(m):.9g}f)" for m in middles).replace("(x > 0f)", "(x > 0.0f)")
    byte, shift = f"d * {form.bits} / 8", f"d * {form.bits} % 8"
    if form.bits == 3:  # a code may lie in two bytes
        word = f"(bits[{byte}] | ({shift} > 5 ? bits[{byte} + 1] : 0) << 8)"
    else:
        word = f"bits[{byte}]"
    return (
        f"{qualifier} float hfc_kv_{name}_level(int code) {{\n"
        f"  const float levels[{len(levels)}] = {{ {_numbers(levels)} }};\n  return levels[code];\n}}\n"
        f"{qualifier} int hfc_kv_{name}_code(float x) {{\n  return {above};\n}}\n"
        f"{qualifier} float hfc_kv_{name}_at(const uint8_t* row, int d) {{\n  const uint8_t* bits = row + 4;\n"
        "  const float norm = hfc_bits_to_f32((uint32_t)row[0] | (uint32_t)row[1] << 8 | (uint32_t)row[2] << 16 | (uint32_t)row[3] << 24);\n"
        f"  return hfc_kv_{name}_level({word} >> {shift} & {2**form.bits - 1}) * norm;\n}}\n"
        f"{_rotation(form, qualifier)}"
    )


def _rotation(form: KvRotated, qualifier: str) -> str:
    """Of pairs, by the angles; Walsh-Hadamard is device/rotate.h."""
    if form.mixes:
        return ""
    angle = angles(form.head // 2)
    return (
        f"{qualifier} float hfc_kv_{form.name}_rotate_pair(int d, float x, float pair) {{\n"
        f"  const float cosine[{len(angle)}] = {{ {_numbers(np.cos(angle))} }};\n"
        f"  const float sine[{len(angle)}] = {{ {_numbers(np.sin(angle))} }};\n"
        "  return x * cosine[d / 2] + (d % 2 ? pair : -pair) * sine[d / 2];\n}\n"
    )


def _writer(form: KvRotated, qualifier: str) -> str:
    per, name, last = CODES_OF_UNIT[form.bits], form.name, len(SIZES)
    values = ", ".join([*(f"float x{i}" for i in range(per)), *(f"float s{i}" for i in range(last + 2))])
    codes = " | ".join(f"(uint32_t)hfc_kv_{name}_code(x{i} * inverse * s{last}) << {i * form.bits}" for i in range(per))
    nbytes = per * form.bits // 8
    stores = " ".join(f"row[4 + j * {nbytes} + {b}] = (uint8_t)(word >> {8 * b});" for b in range(nbytes))
    unused = " ".join(f"(void)s{i};" for i in range(1, last))
    return (
        f"{_size_source(name, qualifier)}"
        f"{qualifier} void hfc_kv_{name}_put(uint8_t* row, int group, int j, {values}) {{\n"
        f"  const float inverse = hfc_rsqrt(s0 > 0.0f ? s0 : 1.0f);\n  const uint32_t word = {codes};\n  (void)group; {unused}\n  {stores}\n"
        f"  if (j == 0) {{\n    const uint32_t norm = hfc_f32_to_bits(s{last + 1});\n"
        "    for (int i = 0; i < 4; i++) row[i] = (uint8_t)(norm >> 8 * i);\n  }\n}\n"
    )


def _size_source(name: str, qualifier: str) -> str:
    """`_error` of an element of a unit vector at a size of the levels, and `_inverse` of the size with the least error, from all sums."""
    errors = [f"e{i}" for i in range(len(SIZES))]
    choice = ["float least = e0, found = " + c_number(1 / SIZES[0]) + ";"]
    choice += [f"if (e{i} < least) least = e{i}, found = {c_number(1 / size)};" for i, size in enumerate(SIZES) if i]
    return (
        f"{qualifier} float hfc_kv_{name}_error(float x, float size, float inverse) {{\n"
        f"  const float e = x - hfc_kv_{name}_level(hfc_kv_{name}_code(x * inverse)) * size;\n  return e * e;\n}}\n"
        f"{qualifier} float hfc_kv_{name}_inverse({', '.join(f'float {e}' for e in errors)}) {{\n  {' '.join(choice)}\n  return found;\n}}\n"
    )


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(map(c_number, values))

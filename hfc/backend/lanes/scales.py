"""Scales of a quantized block for GPU lanes (loaders.py): its numbers and small codes to a scale and a minimum a group, in C."""

from __future__ import annotations

import math
import re

import numpy as np

from hfc.formats.block import BlockFormat
from hfc.formats.dtype import SCALARS
from hfc.formats.layout import Factor, Plane, index_values

WIDEST = 16  # bytes of one load
BATCH = 4  # scales that are made together: their small codes fill a word


def head_lines(form: BlockFormat, loads) -> list[str]:
    """Loads of the numbers and of the fields of small codes, and their names: numbers, and words `in_<field>`.

    loads: of loaders.py, takes the loads; if `used`, of those alone that a scale or a minimum is made of. On AMD the compiler gives
    the register of a word that nobody uses away while the load is on its way, and then waits for the load."""
    wide = {plane.field for plane in form.codes["q"].planes}
    fields = [f for f in form.fields if f.name not in wide]
    if loads.used:
        made_of = {plane.field for code in form.codes.values() for plane in code.planes}
        made_of |= {name for factor in (form.scale, form.min) if factor for name in factor.fields}
        fields = [f for f in fields if f.name in made_of]
    start, size = form.offsets[fields[0].name], sum(f.nbytes for f in fields)
    together = size % 4 == 0 and size <= WIDEST and form.offsets[fields[-1].name] + fields[-1].nbytes == start + size
    together = together and all(form.offsets[f.name] % 4 == 0 for f in fields if f.count > 1)
    head = (
        loads.words(f"block + {start}", size // 4, math.gcd(form.block_bytes, start or form.block_bytes))
        if together
        else 0
    )
    lines = []
    for f in fields:
        scalar, at = SCALARS[f.dtype], form.offsets[f.name]
        if f.count == 1:
            word = head + (at - start) // 4 if together else loads.one(f"*(const {scalar.c}*)(block + {at})")
            shift = (at - start) % 4 * 8 if together else 0
            lines.append(f"  const float {f.name} = {scalar.to_f32.format(f'({scalar.c})(raw[{word}] >> {shift})')};")
        elif together:
            lines.append(f"  const uint32_t* in_{f.name} = raw + {head + (at - start) // 4};")
        elif f.nbytes == 2:
            lines.append(f"  const uint32_t* in_{f.name} = raw + {loads.one(f'*(const uint16_t*)(block + {at})')};")
        else:
            place = loads.words(f"block + {at}", f.nbytes // 4, math.gcd(form.block_bytes, at or form.block_bytes))
            lines.append(f"  const uint32_t* in_{f.name} = raw + {place};")
    return lines


def scale_lines(form: BlockFormat, starts: np.ndarray, firsts: list[int]) -> list[str]:
    """scale[g] and low[g] of groups that begin at `firsts`, at most BATCH, from the numbers and small codes of the block.

    starts: the first element of every call of a block."""
    lines, names = [], [name for name in form.codes if name != "q"]
    for name in names:
        lines += _small_code_lines(form, starts, name, firsts)
    for group in range(len(firsts)):
        lines.append("  {")
        lines += [f"    const float {name} = all_{name}[{group}] + zero_{name};" for name in names]
        lines.append(f"    scale[{group}] = {_fused(form.scale, group, firsts[group])};")
        lines += [f"    low[{group}] = {_fused(form.min, group, firsts[group])};"] if form.min else []
        lines.append("  }")
    return lines


def _fused(factor: Factor, group: int, first: int) -> str:
    """The product of a number and a code without the sum before it: d (c + zero) = d c + d zero, rounded once either way."""
    if not factor.code:
        return _at_element(factor.c, first)
    name, number = factor.code, f"-{factor.fields[0]}" if factor.negated else factor.fields[0]
    return f"__builtin_fmaf({number}, all_{name}[{group}], {number} * zero_{name})"


def _small_code_lines(form: BlockFormat, starts: np.ndarray, name: str, firsts: list[int]) -> list[str]:
    """all_<name>: the numbers of one code, one a group, less zero_<name>. The bytes of all groups are picked into one word."""
    code, four, lines, words = form.codes[name], (firsts + [firsts[0]] * 3)[:4], [], []
    for number, plane in enumerate(code.planes):
        word = f"{name}{number}_word"
        lines.append(f"  uint32_t {word} = {_picked(form, starts, plane, four)};")
        if next(f for f in form.fields if f.name == plane.field).dtype == "i8":
            lines.append(f"  {word} ^= 0x80808080u;")
        words.append(_small_word(form, starts, plane, word, four))
    bits = max(p.bits + p.left for p in code.planes)
    lines.append(f"  float all_{name}[4];")
    if code.power:
        lines.append(f"  const float zero_{name} = 0.0f;")
        return [
            *lines,
            f"  for (int g = 0; g < 4; g++) all_{name}[g] = hfc_bits_to_f32(({' | '.join(words)}) >> 8 * g << 24 >> 1);",
        ]
    lines.append(f"  hfc_floats<{bits}>({' | '.join(words)}, all_{name});")
    return [*lines, f"  const float zero_{name} = {float(code.zero)!r}f - hfc_floats_offset<{bits}>;"]


def _picked(form: BlockFormat, starts: np.ndarray, plane: Plane, firsts: list[int]) -> str:
    """The bytes of four groups as a word: one of the field's where they lie so for every call."""
    nbytes = next(f.nbytes for f in form.fields if f.name == plane.field)
    at = index_values(plane.byte, starts[:, None] + np.array(firsts))  # [calls, 4]
    if (at == at[:1, :1] + np.arange(4)).all() and at[0, 0] % 4 == 0 and nbytes % 4 == 0:
        return f"in_{plane.field}[{at[0, 0] // 4}]"
    places = ", ".join(_at_element(plane.byte, first) for first in firsts)
    return f"hfc_pick<{max(1, nbytes // 4)}>(in_{plane.field}, {places})"


def _small_word(form: BlockFormat, starts: np.ndarray, plane: Plane, word: str, firsts: list[int]) -> str:
    """The bits of a plane, cut out of the picked bytes."""
    if plane.bits == 8:
        return word
    shifts = [index_values(plane.shift, starts + first) for first in firsts]
    mask = 2**plane.bits - 1
    if all((s == shifts[0]).all() for s in shifts):
        by = str(int(shifts[0][0])) if (shifts[0] == shifts[0][0]).all() else _at_element(plane.shift, firsts[0])
        cut = f"({word} >> ({by}) & {byte_mask(plane.bits)})"
    else:
        parts = [
            f"({word} >> ({_at_element(plane.shift, first)}) & 0x{mask << 8 * g:x}u)" for g, first in enumerate(firsts)
        ]
        cut = f"({' | '.join(parts)})"
    return f"{cut} << {plane.left}" if plane.left else cut


def byte_mask(bits: int) -> str:
    """The low bits of every byte."""
    return f"0x{(2**bits - 1) * 0x01010101:08x}u"


def _at_element(expression: str, first: int) -> str:
    """A position expression at element i + first."""
    return re.sub(r"\bi\b", f"(i + {first})", expression) if first else expression

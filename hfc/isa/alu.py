"""An ALU instruction -> the record that alu.c executes: operands, modifiers, lane moves, its function."""

from __future__ import annotations

import ctypes
import re

from hfc.isa.errors import Unsupported
from hfc.isa.line import Line, split_operands
from hfc.isa.machine import (
    HIGH_HALF,
    KIND,
    LOW_HALF,
    SHAPE_HALVES,
    SHAPE_HIGH_HALF,
    SHAPE_MODIFY,
    SHAPE_ROWS,
    SHAPE_SDWA,
    VGPR,
    WHOLE,
    Alu,
    Inst,
    Operand,
)
from hfc.isa.operands import bit_list, constant, register
from hfc.isa.tables import Meaning, family, is_scalar
from hfc.isa.target import Target

DPP_CONTROLS = {
    "quad_perm": 0,
    "row_shl": 1,
    "row_shr": 2,
    "row_ror": 3,
    "row_mirror": 4,
    "row_half_mirror": 5,
    "row_bcast": 6,
    "wave_shl": 8,
    "wave_rol": 9,
    "wave_shr": 10,
    "wave_ror": 11,
    "row_share": 12,
    "row_xmask": 13,
    "dpp8": 14,
    "row_newbcast": 15,
}
SDWA = {"BYTE_0": 0, "BYTE_1": 1, "BYTE_2": 2, "BYTE_3": 3, "WORD_0": 4, "WORD_1": 5, "DWORD": 6}
UNUSED = {"UNUSED_PAD": 0, "UNUSED_SEXT": 1, "UNUSED_PRESERVE": 2}
VCC, DWORD = 106, 6


def lower_alu(line: Line, target: Target) -> tuple[Inst, list[Alu]]:
    """The record and the structs that must stay alive with it."""
    record = Inst(kind=KIND["K_ALU"], size=4 * len(line.words))
    if "::" in line.text:
        parts = [_pair_half(text, target) for text in line.text.split("::")]
    elif line.base in ("v_swap_b32", "v_swap_b16"):
        a, b = line.operands
        parts = [_vector("v_mov_b" + line.base[-2:], (x, y), {}, target) for x, y in ((a, b), (b, a))]
    elif is_scalar(line.name):
        parts = [_scalar(line.base, line.operands, target)]
    else:
        parts = [_vector(line.base, line.operands, line.modifiers, target, sdwa=line.name.endswith("_sdwa"))]
    if len(parts) == 2:
        parts[0].next = ctypes.pointer(parts[1])
    record.alu = ctypes.pointer(parts[0])
    return record, parts


def _pair_half(text: str, target: Target) -> Alu:
    name, _, rest = text.strip().partition(" ")
    operands, modifiers = split_operands(rest)
    return _vector(name.replace("v_dual_", "v_"), operands, modifiers, target)


def _scalar(name: str, operands: tuple[str, ...], target: Target) -> Alu:
    meaning = family(target.family).meaning(name)
    alu = _new(meaning)
    alu.scalar = 1
    rest = list(operands)
    if meaning.dst_bits:
        alu.dst = _written(rest.pop(0), target)
        alu.rows = 2 if meaning.dst_bits == 64 else 1
    if meaning.immediate:
        alu.simm = _immediate(rest.pop())
    for i, rows in enumerate(meaning.rows):
        if rows:
            alu.s[i] = _source(rest.pop(0), meaning, i, target)
    if rest:
        raise Unsupported(f"{name}: operand {rest[0]} has no meaning")
    return alu


def _immediate(token: str) -> int:
    value = constant(token, "f32", 1)[0]
    return value - (1 << 32) if value >> 31 else value


def _vector(name: str, operands: tuple[str, ...], modifiers: dict[str, str], target: Target, sdwa: bool = False) -> Alu:
    clamp = "clamp" in modifiers
    meaning = family(target.family).meaning(name)
    integer_clamp = (
        clamp
        and not meaning.mask
        and meaning.dst_format[0] in "iub"
        and not _is_packed_float(name)
        and "mix" not in name
    )
    if integer_clamp:
        meaning = family(target.family).meaning(name, clamp=True)
    alu = _new(meaning)
    rest = list(operands)
    _destinations(alu, meaning, rest, target)
    _sources(alu, name, meaning, rest, modifiers, target)
    if set(DPP_CONTROLS) & set(modifiers):
        _dpp(alu, modifiers)
    if sdwa:
        _sdwa(alu, meaning, modifiers)
    _halves(alu, name, meaning, operands, modifiers, target)
    if (clamp and not integer_clamp and not meaning.mask) or {"mul", "div"} & set(modifiers):
        _output_modifiers(alu, name, meaning, modifiers, clamp)
    return alu


def _new(meaning: Meaning) -> Alu:
    alu = Alu(fn=meaning.address, dst=-1, carry_in=-1, carry_out=-1, sdwa_select=DWORD)
    alu.reads_old, alu.mask, alu.exec_out = int(meaning.reads_old), int(meaning.mask), int(meaning.exec_out)
    return alu


def _destinations(alu: Alu, meaning: Meaning, rest: list[str], target: Target) -> None:
    """Takes the results off the front of the operands."""
    wanted = sum(1 for rows in meaning.rows if rows)
    if meaning.mask:
        if len(rest) > wanted:  # v_cmpx of RDNA names no destination
            alu.dst = _written(rest.pop(0), target)
        return
    if meaning.dst_bits:
        alu.dst = _written(rest.pop(0), target)
        alu.rows = 2 if meaning.dst_bits == 64 else 1
        if alu.dst < VGPR:
            raise Unsupported(f"{meaning.name} writes an SGPR")
    if meaning.carry_out:
        alu.carry_out = _written(rest.pop(0), target)


def _sources(alu: Alu, name: str, meaning: Meaning, rest: list[str], modifiers: dict[str, str], target: Target) -> None:
    indices = [i for i, rows in enumerate(meaning.rows) if rows]
    if meaning.exec_out and len(rest) > len(indices):
        rest.pop(0)
    if meaning.immediate:
        alu.simm = _immediate(rest.pop(1 if "mk_" in name else len(rest) - 1))
    for i in indices:
        alu.s[i] = _source(rest.pop(0), meaning, i, target)
    if meaning.carry_in:
        alu.carry_in = _written(rest.pop(0), target) if rest else VCC
    if rest:
        raise Unsupported(f"{name}: operand {rest[0]} has no meaning")
    alu.op_sel = bit_list(modifiers.get("op_sel", "[0]"))
    packed = name.startswith("v_pk_") or re.match(r"v_dot2_(f32|i32|u32)", name)
    alu.op_sel_hi = bit_list(modifiers["op_sel_hi"]) if "op_sel_hi" in modifiers else 7 if packed else 0
    alu.neg = bit_list(modifiers.get("neg_lo", "[0]"))
    if packed and name != "v_pk_mov_b32":
        for slot, i in enumerate(indices):
            _packed_source(alu.s[i], slot, alu, modifiers)
    elif "_mix" in name:
        _mixed_sources(alu, indices)


def _source(token: str, meaning: Meaning, index: int, target: Target) -> Operand:
    rows, format_ = meaning.rows[index], meaning.formats[index]
    operand = Operand(reg=-1, rows=rows)
    extend = token.startswith("sext(")
    token = token[5:-1] if extend else token
    operand.extend = int(extend)
    negative = token.startswith("-") and not token[1:2].isdigit() or token.startswith("neg(")
    token = token[4:-1] if token.startswith("neg(") else token[1:] if negative else token
    absolute = token.startswith(("|", "abs("))
    token = token.strip("|") if token.startswith("|") else token[4:-1] if absolute else token
    if negative or absolute:
        _modify(operand, format_, negative, absolute)
    found = register(token, target)
    if found is None:
        operand.value[0], operand.value[1] = constant(token, format_, rows)
    else:
        operand.reg = found
        if token.endswith(".h"):
            operand.shape |= SHAPE_HIGH_HALF
    return operand


def _modify(operand: Operand, format_: str, negative: bool, absolute: bool) -> None:
    """Negation and magnitude are on sign bits."""
    sign = 0x8000 if format_.endswith("16") else 0x80000000
    last = operand.rows - 1
    operand.shape |= SHAPE_MODIFY
    for row in range(operand.rows):
        here = row == last
        operand.keep[row] = 0xFFFFFFFF ^ (sign if absolute and here else 0)
        operand.flip[row] = sign if negative and here else 0


def _packed_source(operand: Operand, slot: int, alu: Alu, modifiers: dict[str, str]) -> None:
    low, high = alu.op_sel >> slot & 1, alu.op_sel_hi >> slot & 1
    negate_low, negate_high = alu.neg >> slot & 1, bit_list(modifiers.get("neg_hi", "[0]")) >> slot & 1
    wide = operand.rows == 2
    if (low, high) != (0, 1):
        operand.low, operand.high = low, high
        operand.shape |= SHAPE_ROWS if wide else SHAPE_HALVES
        if wide and operand.reg < 0:
            operand.value[1] = operand.value[0]
    if negate_low or negate_high:
        operand.shape |= SHAPE_MODIFY
        operand.keep[0] = operand.keep[1] = 0xFFFFFFFF
        operand.flip[0] = negate_low << 31 if wide else negate_low << 15 | negate_high << 31
        operand.flip[1] = negate_high << 31


def _mixed_sources(alu: Alu, indices: list[int]) -> None:
    """v_fma_mix reads f32 or one f16 half of each source; modifiers act on what is read."""
    for slot, i in enumerate(indices):
        if alu.s[i].shape & SHAPE_MODIFY and alu.op_sel_hi >> slot & 1:
            alu.s[i].keep[0] = 0xFFFFFFFF ^ (0x80008000 if alu.s[i].keep[0] != 0xFFFFFFFF else 0)
            alu.s[i].flip[0] = 0x80008000 if alu.s[i].flip[0] else 0


def _halves(
    alu: Alu, name: str, meaning: Meaning, operands: tuple[str, ...], modifiers: dict[str, str], target: Target
) -> None:
    """op_sel of unpacked 16-bit instructions, and what happens to the other half of the destination."""
    plain = not name.startswith(("v_pk_", "v_dot")) and "_mix" not in name
    bits = alu.op_sel if plain and "op_sel" in modifiers else 0
    for i in range(3):
        if bits >> i & 1 and alu.s[i].rows:
            alu.s[i].shape |= SHAPE_HIGH_HALF
    if meaning.dst_bits == 16:
        high = bits >> 3 & 1 or operands[0].endswith(".h")
        if "op_sel" in modifiers and plain:  # the last entry is the destination's
            entries = modifiers["op_sel"].strip("[]").split(",")
            used = sum(1 for rows in meaning.rows if rows)
            high = len(entries) > used and entries[-1] == "1" or operands[0].endswith(".h")
            if len(entries) > used and used < 3 and high:
                alu.s[used].shape &= ~SHAPE_HIGH_HALF
        alu.half = HIGH_HALF if high else LOW_HALF if target.keeps_high_half else WHOLE


def _dpp(alu: Alu, modifiers: dict[str, str]) -> None:
    control = next(c for c in DPP_CONTROLS if c in modifiers)
    argument = modifiers[control]
    if alu.s[0].reg < VGPR:
        raise Unsupported("a lane move of something that is no VGPR")
    alu.dpp, alu.dpp_control = 1, DPP_CONTROLS[control]
    if control == "quad_perm":
        alu.dpp_argument = sum(int(x) << 2 * i for i, x in enumerate(argument.strip("[]").split(",")))
    elif control == "dpp8":
        alu.dpp8 = sum(int(x) << 3 * i for i, x in enumerate(argument.strip("[]").split(",")))
    elif control == "row_bcast":
        alu.dpp_control = 6 if argument == "15" else 7
    else:
        alu.dpp_argument = int(argument or "0", 0)
    alu.row_mask, alu.bank_mask = int(modifiers.get("row_mask", "0xf"), 0), int(modifiers.get("bank_mask", "0xf"), 0)
    alu.bound_control = int(modifiers.get("bound_ctrl", "0") or "0", 0)
    alu.fetch_inactive = int(modifiers.get("fi", "0") or "0", 0)


def _sdwa(alu: Alu, meaning: Meaning, modifiers: dict[str, str]) -> None:
    for i, key in enumerate(("src0_sel", "src1_sel")):
        select = SDWA[modifiers.get(key, "DWORD")]
        if select != DWORD or alu.s[i].extend:
            alu.s[i].select = select
            alu.s[i].shape |= SHAPE_SDWA
    if not meaning.mask:
        alu.sdwa_select = SDWA[modifiers.get("dst_sel", "DWORD")]
        alu.sdwa_unused = UNUSED[modifiers.get("dst_unused", "UNUSED_PRESERVE")]


def _is_packed_float(name: str) -> bool:
    return name.startswith("v_pk_") and name.endswith(("f16", "f32"))


def _output_modifiers(alu: Alu, name: str, meaning: Meaning, modifiers: dict[str, str], clamp: bool) -> None:
    alu.clamp = int(clamp)
    alu.omod = {"2": 1, "4": 2}.get(modifiers.get("mul", ""), 3 if "div" in modifiers else 0)
    if name.startswith("v_pk_") and name.endswith("f16"):
        alu.out_type = 2
    elif "mix" in name and not name.endswith("f32") or _is_packed_float(name):
        raise Unsupported(f"{name} with clamp")
    else:
        alu.out_type = {"f32": 0, "f16": 1, "f64": 3}.get(meaning.dst_format, 0)


def _written(token: str, target: Target) -> int:
    found = register(token, target, written=True)
    if found is None:
        raise Unsupported(f"destination {token}")
    return found

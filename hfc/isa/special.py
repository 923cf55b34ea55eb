"""Matrix, cross-lane and 8-bit float instructions -> records of matrix.c, lanes.c and fp8.c."""

from __future__ import annotations

import re

from hfc.isa.alu import SDWA
from hfc.isa.errors import Unsupported
from hfc.isa.line import Line
from hfc.isa.machine import KIND, Inst
from hfc.isa.operands import bit_list, code, row_count
from hfc.isa.target import Target

TYPES = {
    "f16": 0,
    "bf16": 1,
    "bf16_1k": 1,
    "i8": 2,
    "iu8": 2,
    "iu4": 3,
    "fp8": 4,
    "bf8": 5,
    "f32": 6,
    "xf32": 6,
    "f64": 7,
    "i32": 8,
}
BITS = (16, 16, 8, 4, 8, 8, 32, 64)
MATRIX = re.compile(
    r"v_(wmma|mfma)_(f32|f16|bf16|i32|f64)_(\d+)x(\d+)x(\d+)_?(?:(\d+)b_)?"
    r"(f16|bf16_1k|bf16|i8|iu8|iu4|f32|xf32|f64|(?:fp8|bf8)_(?:fp8|bf8))(?:_e64)?"
)
CONVERT8 = re.compile(r"v_cvt_(pk_)?(f32_(fp8|bf8)|(fp8|bf8)_f32)(_e32|_e64|_sdwa)?$")
LANES = (
    "v_readlane_b32",
    "v_readfirstlane_b32",
    "v_writelane_b32",
    "v_permlane16_b32",
    "v_permlanex16_b32",
    "v_permlane64_b32",
    "v_permlane16_var_b32",
    "v_permlanex16_var_b32",
    "v_movrels_b32",
    "v_movreld_b32",
    "v_movrelsd_b32",
    "s_set_gpr_idx_on",
    "indexed_move",
)


def lower_matrix(line: Line, target: Target) -> Inst:
    """p: family, types of A, B and D, M, K, blocks, D, A, B, C, neg_lo, neg_hi, clamp, op_sel of D, fnuz."""
    found, modifiers = MATRIX.fullmatch(line.name), line.modifiers
    blgp = modifiers.get("blgp", "0")
    broadcast = (
        any(int(modifiers.get(key, "0")) for key in ("cbsz", "abid")) or found and found[1] == "mfma" and blgp != "0"
    )
    if not found or broadcast or found[3] != found[4]:
        raise Unsupported(line.text)
    record = Inst(kind=KIND["K_MATRIX"], size=4 * len(line.words))
    kinds = found[7].split("_") if found[7].startswith(("fp8", "bf8")) else [found[7]] * 2
    p, size, depth = record.p, int(found[3]), int(found[5])
    p[0] = 2 if found[1] == "mfma" else target.wmma
    p[1], p[2], p[3], p[4], p[5] = TYPES[kinds[0]], TYPES[kinds[1]], TYPES[found[2]], size, depth
    per_lane = 32 * row_count(line.operands[1]) // BITS[p[1]]
    p[6] = 1 if found[1] == "wmma" else (64 // size) // (depth // per_lane)
    for i, operand in enumerate(line.operands):
        p[7 + i] = code(operand, target, record)
    p[11], p[12] = bit_list(modifiers.get("neg_lo", "[0]")), bit_list(modifiers.get("neg_hi", "[0]"))
    p[13], p[14] = int("clamp" in modifiers), bit_list(modifiers.get("op_sel", "[0]")) >> 2 & 1
    p[15] = int(target.fnuz)
    return record


def lower_lanes(line: Line, target: Target, lines: dict[int, Line]) -> Inst | None:
    """p: operation, destination, sources, fetch inactive, bound control. None: not one of these."""
    name = "indexed_move" if line.base == "v_mov_b32" and _is_indexed(line, target, lines) else line.base
    if name not in LANES:
        return None
    record = Inst(kind=KIND["K_LANE"], size=4 * len(line.words))
    p, operands = record.p, line.operands
    p[0] = LANES.index(name)
    if name == "s_set_gpr_idx_on":
        sides = ("SRC0", "SRC1", "SRC2", "DST")
        named = operands[1].startswith("gpr_idx")
        p[7] = sum(1 << i for i, side in enumerate(sides) if side in operands[1]) if named else line.words[0] & 15
        operands = operands[:1]
    for i, operand in enumerate(operands):
        p[1 + i] = code(operand, target, record)
    select = line.modifiers.get("op_sel", "[0,0]").strip("[]").split(",")
    p[5], p[6] = int(select[0]), int(select[1])
    return record


def _is_indexed(line: Line, target: Target, lines: dict[int, Line]) -> bool:
    """A GCN move between s_set_gpr_idx_on and s_set_gpr_idx_off?"""
    address = line.address
    while target.wave == 64:
        before = lines.get(address - 4) or lines.get(address - 8)
        if before is None or not before.name.startswith(("v_mov_b32", "s_set_gpr_idx_on")):
            return False
        if before.name == "s_set_gpr_idx_on":
            return True
        address = before.address
    return False


def lower_convert8(line: Line, target: Target) -> Inst | None:
    """p: operation (0 one to f32, 1 two to f32, 2 two from f32), destination, sources, bf8, fnuz, part, upper half."""
    if not CONVERT8.match(line.name):
        return None
    record = Inst(kind=KIND["K_CVT8"], size=4 * len(line.words))
    p, modifiers = record.p, line.modifiers
    p[0] = 0 if "_pk_" not in line.name else 1 if "_f32_" in line.name else 2
    for i, operand in enumerate(line.operands):
        p[1 + i] = code(operand, target, record)
    p[4], p[5] = int("bf8" in line.name), int(target.fnuz)
    select = [int(x) for x in modifiers.get("op_sel", "[0,0,0]").strip("[]").split(",")]
    if p[0] == 0:
        p[6] = int(modifiers.get("byte_sel", "0")) or SDWA.get(modifiers.get("src0_sel", ""), 0)
    elif p[0] == 1:
        p[6] = select[0] or int(modifiers.get("src0_sel") == "WORD_1")
    else:
        p[7] = select[-1]
    known = {"op_sel", "byte_sel", "src0_sel", "dst_sel", "dst_unused"}
    if set(modifiers) - known or p[0] == 0 and select[0] or select[1] or modifiers.get("dst_sel", "DWORD") != "DWORD":
        raise Unsupported(line.text)
    return record

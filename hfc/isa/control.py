"""Scalar instructions that are not arithmetic: branches, calls, barriers, modes, scalar loads."""

from __future__ import annotations

import re

from hfc.isa.errors import Unsupported
from hfc.isa.line import Line
from hfc.isa.machine import KIND, PRIVATE_HI, SHARED_HI, Inst
from hfc.isa.operands import code
from hfc.isa.target import Target

NOTHING = re.compile(  # waits, hints and caches: no effect in a machine without time
    r"s_nop|s_wait|s_clause|s_delay_alu|s_sendmsg(halt)?$|s_setprio|s_sleep|s_(set_)?inst_prefetch|s_prefetch|s_ttrace|"
    r"s_icache|s_dcache|s_gl1_inv|s_barrier_signal$|s_barrier_leave|buffer_(gl[01]_|wb|inv)|global_(inv|wb|wbinv)$|"
    r"s_sethalt|s_singleuse|s_version|s_incperflevel|s_decperflevel|v_nop|s_alloc_vgpr|s_setkill|s_set_gpr_idx_off$|"
    r"s_sleep_var|ds_nop|exp$|s_code_end"
)
REFUSED = re.compile(
    r"s_(store|scratch|atomic|buffer_(store|atomic)|dcache_discard|barrier_signal_isfirst|barrier_init|barrier_join|"
    r"get_barrier|cbranch_[gij]|set_gpr_idx_(idx|mode)|movrel|subvector)"
)
BRANCHES = {
    "s_branch": 0,
    "s_cbranch_scc0": 1,
    "s_cbranch_scc1": 2,
    "s_cbranch_vccz": 3,
    "s_cbranch_vccnz": 4,
    "s_cbranch_execz": 5,
    "s_cbranch_execnz": 6,
}
LOAD_BYTES = {
    "u8": 1,
    "i8": 1,
    "u16": 2,
    "i16": 2,
    "b32": 4,
    "dword": 4,
    "b64": 8,
    "dwordx2": 8,
    "b96": 12,
    "dwordx3": 12,
    "b128": 16,
    "dwordx4": 16,
    "b256": 32,
    "dwordx8": 32,
    "b512": 64,
    "dwordx16": 64,
}
APERTURES = {"src_shared_base": SHARED_HI, "src_private_base": PRIVATE_HI}
MODE, SHADER_CYCLES = 1, 29  # what K_GETREG reads


def lower_control(line: Line, target: Target) -> Inst | None:
    """None: not one of these."""
    record = Inst(size=4 * len(line.words))
    if NOTHING.match(line.name):
        record.kind = KIND["K_NOP"]
        return record
    if not line.name.startswith("s_"):
        return None
    if REFUSED.match(line.name) or set(APERTURES) & set(line.operands) and line.name != "s_mov_b64":
        raise Unsupported(line.text)
    for lower in (_flow, _mode, _load):
        if lower(line, target, record):
            return record
    return None


def _flow(line: Line, target: Target, record: Inst) -> bool:
    name, operands, p = line.name, line.operands, record.p
    offset = line.words[0] & 0xFFFF
    delta = 4 + 4 * (offset - 0x10000 if offset & 0x8000 else offset)
    if name in ("s_endpgm", "s_endpgm_saved"):
        record.kind = KIND["K_END"]
    elif name in ("s_barrier", "s_barrier_wait"):
        record.kind = KIND["K_BARRIER"]
    elif name == "s_trap":
        record.kind = KIND["K_TRAP"]
    elif name in BRANCHES:
        record.kind, p[0], record.imm = KIND["K_BRANCH"], BRANCHES[name], delta
    elif name == "s_call_b64":
        record.kind, p[0], record.imm = KIND["K_CALL"], code(operands[0], target), delta
    elif name in ("s_getpc_b64", "s_setpc_b64"):
        record.kind, p[0] = KIND["K_GETPC" if "get" in name else "K_SETPC"], code(operands[0], target)
    elif name == "s_swappc_b64":
        record.kind, p[0], p[1] = KIND["K_SWAPPC"], code(operands[0], target), code(operands[1], target)
    else:
        return False
    return True


def _mode(line: Line, target: Target, record: Inst) -> bool:
    name, operands, p = line.name, line.operands, record.p
    if name in ("s_memtime", "s_memrealtime") or name.startswith("s_sendmsg_rtn_b64"):
        record.kind, p[0] = KIND["K_TIME"], code(operands[0], target)
    elif name in ("s_denorm_mode", "s_round_mode"):
        record.kind, p[0], p[1] = KIND["K_SETREG"], 4 if name == "s_denorm_mode" else 0, 4
        p[2] = code(str(line.words[0] & 15), target, record)
    elif name.startswith("s_setreg") or name == "s_getreg_b32":
        _hardware_register(line, target, record)
    elif name == "s_mov_b64" and operands[1] in APERTURES:
        record.kind, p[0], p[1] = KIND["K_APERTURE"], code(operands[0], target), APERTURES[operands[1]]
    else:
        return False
    return True


def _hardware_register(line: Line, target: Target, record: Inst) -> None:
    """hwreg(HW_REG_MODE, first, width); writes to other registers than MODE do nothing here."""
    reads, p = line.name == "s_getreg_b32", record.p
    found = re.match(r"hwreg\((\w+)(?:, (\d+), (\d+))?\)", line.operands[1 if reads else 0])
    first, width = (int(found[2]), int(found[3])) if found and found[2] else (0, 32)
    is_mode = bool(found and re.fullmatch(r"HW_REG_(WAVE_)?MODE", found[1]))
    if reads:
        record.kind, p[0], p[1], p[2] = KIND["K_GETREG"], code(line.operands[0], target), first, width
        p[3] = MODE if is_mode else SHADER_CYCLES if found and "SHADER_CYCLES" in found[1] else 0
    elif is_mode:
        record.kind, p[0], p[1], p[2] = KIND["K_SETREG"], first, width, code(line.operands[1], target, record)
    else:
        record.kind = KIND["K_NOP"]


def _load(line: Line, target: Target, record: Inst) -> bool:
    """p: destination, base, offset register, bytes, sign extension, buffer."""
    found = re.fullmatch(r"s_(buffer_)?load_(\w+)", line.name)
    if not found:
        return False
    operands, p = line.operands, record.p
    record.kind = KIND["K_SMEM"]
    p[0], p[1], p[2], p[3] = code(operands[0], target), code(operands[1], target), -1, LOAD_BYTES[found[2]]
    p[4], p[5] = int(found[2][0] == "i"), int(bool(found[1]))
    record.imm = int(line.modifiers.get("offset", "0"), 0)
    if len(operands) > 2 and operands[2] != "null":
        if re.match(r"-?(0x)?[0-9a-f]+$", operands[2]):
            record.imm += int(operands[2], 0)
        else:
            p[2] = code(operands[2], target)
    return True

"""Vector memory and LDS instructions -> records of memory.c."""

from __future__ import annotations

import re

from hfc.isa.errors import Unsupported
from hfc.isa.line import Line
from hfc.isa.machine import KIND, Inst
from hfc.isa.operands import code
from hfc.isa.target import Target

RETURN, LOW, HIGH, SIGNED, FROM_HIGH = 1, 2, 4, 8, 16  # flags FL_* of memory.c
WORDS = {"b32": 4, "dword": 4, "b64": 8, "dwordx2": 8, "b96": 12, "dwordx3": 12, "b128": 16, "dwordx4": 16}
LOADS = {  # type -> (bytes, flags)
    **{name: (size, 0) for name, size in WORDS.items()},
    "u8": (1, 0),
    "ubyte": (1, 0),
    "i8": (1, SIGNED),
    "sbyte": (1, SIGNED),
    "u16": (2, 0),
    "ushort": (2, 0),
    "i16": (2, SIGNED),
    "sshort": (2, SIGNED),
    **dict.fromkeys(("d16_b16", "short_d16", "u16_d16"), (2, LOW)),
    **dict.fromkeys(("d16_hi_b16", "short_d16_hi", "u16_d16_hi"), (2, HIGH)),
    **dict.fromkeys(("d16_u8", "ubyte_d16", "u8_d16"), (1, LOW)),
    **dict.fromkeys(("d16_hi_u8", "ubyte_d16_hi", "u8_d16_hi"), (1, HIGH)),
    **dict.fromkeys(("d16_i8", "sbyte_d16", "i8_d16"), (1, LOW | SIGNED)),
    **dict.fromkeys(("d16_hi_i8", "sbyte_d16_hi", "i8_d16_hi"), (1, HIGH | SIGNED)),
}
STORES = {
    **{name: (size, 0) for name, size in WORDS.items()},
    "b8": (1, 0),
    "byte": (1, 0),
    "b16": (2, 0),
    "short": (2, 0),
    **dict.fromkeys(("d16_hi_b16", "short_d16_hi", "b16_d16_hi"), (2, FROM_HIGH)),
    **dict.fromkeys(("d16_hi_b8", "byte_d16_hi", "b8_d16_hi"), (1, FROM_HIGH)),
}
ATOMICS = (
    "add",
    "sub",
    "smin",
    "umin",
    "smax",
    "umax",
    "and",
    "or",
    "xor",
    "inc",
    "dec",
    "swap",
    "cmpswap",
    "fadd",
    "fmin",
    "fmax",
    "pkf16",
    "pkbf16",
    "rsub",
    "subclamp",
    "condsub",
    "cmpst",
)  # enum Atom of memory.c
SPELLINGS = {
    "storexchg": "swap",
    "wrxchg": "swap",
    "cmpstore": "cmpswap",
    "csub": "subclamp",
    "sub_clamp": "subclamp",
    "cond_sub": "condsub",
}
SPACES = ("global", "flat", "scratch", "buffer")
DS_LOAD, DS_STORE, DS_ATOMIC, DS_LOAD2, DS_STORE2, DS_BPERMUTE, DS_PERMUTE, DS_SWIZZLE, DS_LOADTID, _, DS_XCHG2 = range(
    11
)


def atomic(name: str) -> tuple[int, int]:
    """(operation, bytes) of an atomic's name after its prefix: add_u32, smin_x2, min_num_f32, cmpswap_b64."""
    size = 8 if re.search(r"(_x2|64)$", name) else 4
    base = re.sub(r"_x2$", "", name)
    found = re.search(r"_(?:num_)?([uibf]\d+|bf16)$", base)
    kind = found[1] if found else ""
    base = re.sub(r"_(num_)?([uibf]\d+|bf16)$", "", base)
    if base == "pk_add":
        operation = "pkbf16" if kind == "bf16" else "pkf16"
    elif base in ("fmin", "fmax") or base in ("add", "min", "max") and kind.startswith("f"):
        operation = "f" + base.lstrip("f")
    elif base in ("min", "max"):
        operation = ("s" if kind.startswith("i") else "u") + base
    else:
        operation = SPELLINGS.get(base, base)
    if operation not in ATOMICS:
        raise Unsupported(f"atomic {name}")
    return ATOMICS.index(operation), size


def lower_vector_memory(line: Line, target: Target) -> Inst:
    """p: space, operation, destination, address, address is 64 bits, scalar base, data, flags, bytes, atomic,
    buffer offset, offen, idxen."""
    found = re.fullmatch(r"(global|flat|scratch|buffer)_(load|store|atomic)_(\w+)", line.name)
    if not found or "lds" in line.modifiers or "format" in line.name or "lds" in line.name or "_tr_" in line.name:
        raise Unsupported(line.text)
    space, operation, kind = found.groups()
    record = Inst(kind=KIND["K_VMEM"], size=4 * len(line.words), imm=int(line.modifiers.get("offset", "0"), 0))
    p = record.p
    p[0], p[1] = SPACES.index(space), ("load", "store", "atomic").index(operation)
    for i in (2, 3, 5, 6):
        p[i] = -1
    if operation == "atomic":
        p[9], p[8] = atomic(kind)
    else:
        table = LOADS if operation == "load" else STORES
        if kind not in table:
            raise Unsupported(line.text)
        p[8], p[7] = table[kind]
    if space == "buffer":
        _buffer(line, target, record)
    else:
        _flat(line, target, record, space, operation)
    return record


def _buffer(line: Line, target: Target, record: Inst) -> None:
    p, operands, modifiers = record.p, line.operands, line.modifiers
    p[2] = p[6] = code(operands[0], target)
    p[3], p[5], p[10] = code(operands[1], target), code(operands[2], target), code(operands[3], target, record)
    p[11], p[12] = int("offen" in modifiers), int("idxen" in modifiers)
    if p[1] == 2 and ("glc" in modifiers or "sc0" in modifiers or "RETURN" in modifiers.get("th", "")):
        p[7] = RETURN


def _flat(line: Line, target: Target, record: Inst, space: str, operation: str) -> None:
    p, operands = record.p, line.operands
    has_base = space != "flat"
    destination, address, data = None, operands[0], None
    if operation == "load":
        destination, address = operands[:2]
    elif operation == "atomic" and len(operands) == 3 + has_base:
        destination, address, data = operands[:3]
    else:
        address, data = operands[:2]
    if destination:
        p[2] = code(destination, target)
    if data:
        p[6] = code(data, target)
    if operation == "atomic" and destination:
        p[7] = RETURN
    p[3] = code(address, target)
    if has_base and operands[-1] not in ("off", "null"):
        p[5] = code(operands[-1], target)
    p[4] = int(space == "flat" or space == "global" and p[5] < 0)


def lower_lds(line: Line, target: Target) -> Inst:
    """p: operation, destination, address, data 0 and 1, offsets 0 and 1, bytes, flags, stride, atomic."""
    if "gds" in line.modifiers:
        raise Unsupported(line.text)
    record = Inst(kind=KIND["K_DS"], size=4 * len(line.words))
    p, name, operands = record.p, line.name, line.operands
    swizzle = name == "ds_swizzle_b32"
    record.imm = line.words[0] & 0xFFFF if swizzle else int(line.modifiers.get("offset", "0"), 0)
    for i in (1, 2, 3, 4):
        p[i] = -1
    if name in ("ds_bpermute_b32", "ds_permute_b32"):
        p[0] = DS_BPERMUTE if "bp" in name else DS_PERMUTE
        p[1], p[2], p[3] = (code(o, target) for o in operands[:3])
    elif swizzle and record.imm < 0xE000:
        p[0], p[1], p[2] = DS_SWIZZLE, code(operands[0], target), code(operands[1], target)
    elif not (
        _lds_pair(line, target, record) or _lds_single(line, target, record) or _lds_atomic(line, target, record)
    ):
        raise Unsupported(line.text)
    return record


def _lds_pair(line: Line, target: Target, record: Inst) -> bool:
    found = re.fullmatch(
        r"ds_(load|store|read|write|storexchg|wrxchg)_?2(?:addr)?(_rtn)?(_stride64|st64)?(_rtn)?_b(32|64)", line.name
    )
    if not found:
        return False
    p, codes = record.p, [code(o, target) for o in line.operands]
    p[7] = int(found[5]) // 8
    p[9] = p[7] * (64 if found[3] else 1)
    p[5], p[6] = int(line.modifiers.get("offset0", "0"), 0), int(line.modifiers.get("offset1", "0"), 0)
    if found[1] in ("load", "read"):
        p[0], p[1], p[2] = DS_LOAD2, *codes[:2]
    elif found[1] in ("store", "write"):
        p[0], p[2], p[3], p[4] = DS_STORE2, *codes[:3]
    else:
        p[0], p[1], p[2], p[3], p[4] = DS_XCHG2, *codes[:4]
    return True


def _lds_single(line: Line, target: Target, record: Inst) -> bool:
    found = re.fullmatch(r"ds_(load|read|store|write)_(addtid_)?(\w+)", line.name)
    loads = bool(found) and found[1] in ("load", "read")
    table = LOADS if loads else STORES
    if not found or found[3] not in table:
        return False
    p, operands = record.p, line.operands
    p[7], p[8] = table[found[3]]
    p[0] = (DS_LOAD if loads else DS_STORE) + (DS_LOADTID if found[2] else 0)
    if loads:
        p[1] = code(operands[0], target)
    else:
        p[3] = code(operands[-1], target)
    if not found[2]:
        p[2] = code(operands[1 if loads else 0], target)
    return True


def _lds_atomic(line: Line, target: Target, record: Inst) -> bool:
    returns = "_rtn" in line.name
    if not returns and not re.match(
        r"ds_(add|sub|rsub|inc|dec|min|max|and|or|xor|cmpst|cmpstore|pk_add|sub_clamp|cond_sub)_", line.name
    ):
        return False
    p, codes = record.p, [code(o, target) for o in line.operands]
    p[0] = DS_ATOMIC
    p[10], p[7] = atomic(line.name[3:].replace("_rtn", ""))
    if returns:
        p[1], p[8] = codes.pop(0), RETURN
    p[2], p[3] = codes[:2]
    if len(codes) > 2:
        p[4] = codes[2]
    return True

"""Instructions as the replay sees them: which unit executes one, how long, what it reads, writes and waits for."""

from __future__ import annotations

import re
from ctypes import Array, Structure, c_int32, c_uint8, c_uint16, c_uint32

from hfc.isa.line import Line, split_operands
from hfc.isa.program import KernelProgram
from hfc.target.arch import Arch
from hfc.target.roofline import operations_per_clock
from hfc.target.timing import SIMDS, Timing

UNITS = (
    "VALU", "SALU", "SCALAR", "LOAD", "STORE", "ATOMIC", "LDS", "BRANCH", "WAIT", "BARRIER", "INVALIDATE", "NONE",
)  # fmt: skip
UNIT = {name: number for number, name in enumerate(UNITS)}
MOST_WRITTEN, MOST_READ = 4, 8
SGPR, AGPR = 256, 512  # first numbers of the files; VGPRs start at 0
VCC = SGPR + 106


class Instruction(Structure):
    """wait_*: how many accesses may be in flight after a wait, -1: any number. written, read: (first register, count)."""

    _fields_ = [
        *((name, c_uint8) for name in ("unit", "issue", "latency", "writes", "reads", "pad")),
        *((name, c_int32) for name in ("wait_loads", "wait_lds", "wait_stores")),
        ("written", (c_uint16 * 2) * MOST_WRITTEN),
        ("read", (c_uint16 * 2) * MOST_READ),
        ("address", c_uint32),
        ("bytes", c_uint32),
    ]


RULES: tuple[tuple[str, str], ...] = (  # first match of the name
    (r"v_", "VALU"),
    (r"ds_", "LDS"),
    (r"s_(buffer_)?load", "SCALAR"),
    (r"s_c?branch", "BRANCH"),
    (r"s_barrier$|s_barrier_wait", "BARRIER"),
    (r"s_wait(cnt|_(load|store|ds|km|sample|bvh|exp|x))", "WAIT"),
    (r"s_(barrier_signal|wait|nop|delay|clause|sched|sleep|set_inst|inst_pref|endpgm|code_end|sendmsg)", "NONE"),
    (r"s_", "SALU"),
    (r"buffer_(gl[01]_inv|inv)|global_inv", "INVALIDATE"),
    (r"(global|flat|buffer|scratch)_load", "LOAD"),
    (r"(global|flat|buffer|scratch)_store", "STORE"),
    (r"(global|flat|buffer)_atomic", "ATOMIC"),
    (r"", "NONE"),
)
QUARTER_RATE = re.compile(
    r"v_(exp|log|rcp|rsq|sqrt|sin|cos)_|v_(mul_lo_u32|mul_hi_u32|mul_hi_i32|mad_u64_u32|mad_i64_i32|cvt_f64)|v_.*_f64"
)
MATRIX = re.compile(r"v_(?:s?wmma|mfma|smfmac)_\w*?_(\d+)x(\d+)x(\d+)_?(\w*)")
READS_TARGET = re.compile(r"v_(dual_)?(fmac|mac|dot2c|dot4c)")
CARRY_OUT = re.compile(r"v_(add_co|sub_co|subrev_co|add_co_ci|sub_co_ci|div_scale|mad_u64|mad_i64)")
VALU_LATENCY, QUARTER_LATENCY, MATRIX_LATENCY = 5, 8, 4  # RDNA; the last counted from the issue
WAITS = {  # gfx12: name -> the counters that the number, or its halves of 8 bits, stands for
    "loadcnt": ("wait_loads",),
    "dscnt": ("wait_lds",),
    "kmcnt": ("wait_lds",),
    "storecnt": ("wait_stores",),
    "loadcnt_dscnt": ("wait_loads", "wait_lds"),
    "storecnt_dscnt": ("wait_stores", "wait_lds"),
}


def instructions_of(program: KernelProgram, arch: Arch, timing: Timing) -> Array:
    """One record for every 4 bytes of the program's text."""
    table = (Instruction * program.count)()
    for address, line in program.lines.items():
        number = (address - program.first) // 4
        if 0 <= number < program.count:
            _fill(table[number], line, arch, timing)
    return table


def unit_of(name: str) -> str:
    return next(unit for pattern, unit in RULES if re.match(pattern, name))


def _fill(record: Instruction, line: Line, arch: Arch, timing: Timing) -> None:
    unit = unit_of(line.name)
    record.unit, record.address, record.bytes = UNIT[unit], line.address, _bytes(line.name)
    record.wait_loads = record.wait_lds = record.wait_stores = -1
    record.issue, record.latency = _cycles(line.name, arch, timing)
    if unit == "WAIT":
        _wait(record, line)
    written, read = _registers(line, unit)
    record.writes, record.reads = min(len(written), MOST_WRITTEN), min(len(read), MOST_READ)
    for place, found in ((record.written, written[:MOST_WRITTEN]), (record.read, read[:MOST_READ])):
        for i, (first, count) in enumerate(found):
            place[i][0], place[i][1] = first, count


def _cycles(name: str, arch: Arch, timing: Timing) -> tuple[int, int]:
    """How long the SIMD is busy, and when the result is there."""
    if found := MATRIX.match(name):
        operations = 2 * int(found[1]) * int(found[2]) * int(found[3])
        busy = operations * SIMDS // timing.compute_units // operations_per_clock(arch, _feature(arch, found[4]))
        busy = max(busy, timing.issue_cycles)
        return busy, busy + MATRIX_LATENCY
    if QUARTER_RATE.match(name):
        return 4 * timing.issue_cycles, QUARTER_LATENCY
    return timing.issue_cycles, VALU_LATENCY if timing.issue_cycles == 1 else timing.issue_cycles


def _feature(arch: Arch, types: str) -> str:
    """The row of roofline.RATES for the operand types that a name ends with."""
    kind = "wmma" if any(feature.startswith("wmma") for feature in arch.features) else "mfma"
    for text, names in (
        ("iu4", ("i4",)),
        ("iu8", ("i8",)),
        ("i8", ("i8_k32", "i8")),
        ("bf16", ("bf16",)),
        ("f16", ("f16",)),
    ):
        if text in types:
            return next(f"{kind}_{name}" for name in names if f"{kind}_{name}" in arch.features)
    return f"{kind}_fp8" if f"{kind}_fp8" in arch.features else f"{kind}_f16"


def _wait(record: Instruction, line: Line) -> None:
    text = line.text
    if found := re.match(r"s_wait_(\w+) (0x[0-9a-f]+|\d+)", text):
        counters, number = WAITS.get(found[1], ()), int(found[2], 0)
        values = (number,) if len(counters) == 1 else (number >> 8, number & 63)
        for counter, value in zip(counters, values):
            setattr(record, counter, value)
        return
    if line.name == "s_waitcnt" and "cnt(" not in text:
        record.wait_loads = record.wait_lds = 0
    if "vscnt" in line.name:
        record.wait_stores = 0
    for name, counter in (("vmcnt", "wait_loads"), ("lgkmcnt", "wait_lds")):
        if found := re.search(rf"{name}\((\d+)\)", text):
            setattr(record, counter, int(found[1]))


def _registers(line: Line, unit: str) -> tuple[list, list]:
    """(written, read) as (first, count)."""
    written, read = [], []
    if unit in ("VALU", "SALU"):
        for part in line.text.split("::"):
            _arithmetic(part.strip(), written, read)
    elif unit in ("LOAD", "LDS", "SCALAR"):
        first = 0 if line.name.startswith("ds_") and re.search(r"store|write", line.name) else 1
        read += [found for operand in line.operands[first:] for found in _register(operand)]
    else:
        read += [found for operand in line.operands for found in _register(operand)]
    return written, read


def _arithmetic(text: str, written: list, read: list) -> None:
    name, _, rest = text.partition(" ")
    operands = list(split_operands(rest)[0])
    if not operands:
        return
    target = _register(operands.pop(0))
    if CARRY_OUT.match(name) and operands:
        target += _register(operands.pop(0))
    if re.match(r"s_(cmp|bitcmp)", name):
        read += target
    else:
        written += target
    read += [found for operand in operands for found in _register(operand)]
    if READS_TARGET.match(name):
        read += target


def _register(operand: str) -> list[tuple[int, int]]:
    """ "-|v[2:3]|" -> [(2, 2)]; what is no register -> []."""
    if operand.startswith("vcc"):
        return [(VCC, 1)]
    found = re.fullmatch(r"[-|]*([vsa])(?:(\d+)|\[(\d+):(\d+)\])(?:\.[hl])?\|?", operand)
    if not found:
        return []
    first = int(found[2] or found[3])
    count = 1 if found[2] else int(found[4]) - first + 1
    return [({"v": 0, "s": SGPR, "a": AGPR}[found[1]] + first, count)]


def _bytes(name: str) -> int:
    """Of one lane's access."""
    if found := re.search(r"_b(\d+)$", name):
        return int(found[1]) // 8
    if found := re.search(r"dwordx(\d)$", name):
        return 4 * int(found[1])
    return 4

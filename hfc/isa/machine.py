"""The structs of machine.h, and the core built from machine.c."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, Structure, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from hfc.isa.tables import build

HERE = Path(__file__).parent


class Operand(Structure):
    _fields_ = [
        ("reg", c_int32),
        ("value", c_uint32 * 2),
        ("keep", c_uint32 * 2),
        ("flip", c_uint32 * 2),
        ("rows", c_uint8),
        ("shape", c_uint8),
        ("select", c_uint8),
        ("extend", c_uint8),
        ("low", c_uint8),
        ("high", c_uint8),
        ("pad", c_uint8 * 2),
    ]


class Alu(Structure):
    pass


Alu._fields_ = [
    ("fn", c_void_p),
    ("next", POINTER(Alu)),
    ("dpp8", c_uint64),
    ("s", Operand * 3),
    *((n, c_int32) for n in ("dst", "carry_in", "carry_out", "simm")),
    *((n, c_uint32) for n in ("op_sel", "op_sel_hi", "neg")),
    *(
        (n, c_uint8)
        for n in (
            "scalar",
            "rows",
            "half",
            "reads_old",
            "mask",
            "exec_out",
            "clamp",
            "omod",
            "out_type",
            "sdwa_select",
            "sdwa_unused",
            "dpp",
        )
    ),
    *(
        (n, c_int32)
        for n in ("dpp_control", "dpp_argument", "row_mask", "bank_mask", "bound_control", "fetch_inactive")
    ),
]


class Inst(Structure):
    _fields_ = [
        ("alu", POINTER(Alu)),
        ("imm", c_int64),
        ("count", c_uint64),
        ("lanes", c_uint64),
        ("bytes", c_uint64),
        ("lines", c_uint64),
        ("p", c_int32 * 20),
        ("lit", c_int32 * 4),
        ("kind", c_uint16),
        ("size", c_uint16),
        ("pad", c_uint32),
    ]


class Range(Structure):
    _fields_ = [("lo", c_uint64), ("hi", c_uint64), ("writable", c_uint32), ("pad", c_uint32)]


class Wave(Structure):
    _fields_ = [
        *((n, c_uint64) for n in ("s", "v", "a", "lds", "scratch", "pc", "icount")),
        *((n, c_uint32) for n in ("state", "mode", "group", "id", "index", "pad")),
    ]


class Machine(Structure):
    _fields_ = [
        ("prog", c_void_p),
        ("base", c_uint64),
        ("n", c_uint64),
        ("ranges", c_void_p),
        ("nranges", c_uint32),
        ("last", c_uint32),
        *((n, c_uint32) for n in ("ws", "lds_size", "scratch_stride", "m0", "check", "profile", "line", "strict_wmma")),
        *((n, c_uint64) for n in ("fault_addr", "fault_pc", "limit", "unaligned")),
        *((n, c_uint32) for n in ("fault", "fault_lane", "fault_bytes", "wave")),
        ("trace", c_void_p),
        *((n, c_uint64) for n in ("traced", "trace_room", "trace_entry")),
    ]


class Start(Structure):
    _fields_ = [
        ("sgprs", c_void_p),
        ("entry", c_uint64),
        *((n, c_uint32) for n in ("waves", "threads")),
        ("block", c_uint32 * 3),
        *((n, c_uint32) for n in ("used_vgprs", "poison", "user_sgprs", "rsrc2", "mode", "lds_bytes", "scratch_bytes")),
        *((n, c_uint8) for n in ("packed_ids", "ttmp_ids", "flat_scratch", "has_agprs")),
        ("pad", c_uint32),
    ]


def _enum(name: str) -> dict[str, int]:
    """The constants of an enum of machine.h: one place says what they are."""
    body = re.search(rf"enum {name} \{{(.*?)\}}", (HERE / "machine.h").read_text(), re.S)[1]
    return {entry.strip(): i for i, entry in enumerate(body.replace("\n", " ").split(","))}


KIND = _enum("Kind")
STATUS = _enum("Status")
SHAPE_MODIFY, SHAPE_HIGH_HALF, SHAPE_HALVES, SHAPE_ROWS, SHAPE_SDWA = 1, 2, 4, 8, 16
WHOLE, LOW_HALF, HIGH_HALF = range(3)
SHARED_HI, PRIVATE_HI, SCRATCH_RSRC_HI = (
    0x10000,
    0x20000,
    0xBAD5,
)  # upper halves of generic addresses of LDS and scratch
VGPR, AGPR, LITERAL = 256, 512, 1000  # register codes; SGPRs start at 0
NULL_READ, JUNK = 244, 251  # SGPR codes that no program names: one pair stays 0, one takes what is written to "null"


@cache
def core() -> ctypes.CDLL:
    """The C core, built on first use."""
    library = ctypes.CDLL(str(build("machine", _source())))
    library.vm_sizes.restype = c_uint64
    for i, struct in enumerate((Inst, Wave, Machine, Range, Alu, Operand, Start)):
        assert library.vm_sizes(i) == ctypes.sizeof(struct), f"{struct.__name__} differs from machine.h"
    library.vm_run.argtypes = [c_void_p, c_void_p, c_uint64]
    library.vm_sched.argtypes = [c_void_p, c_void_p, c_uint32, c_uint64, c_uint32, c_void_p, c_void_p]
    library.vm_start.argtypes = [c_void_p, c_void_p, c_void_p, c_void_p, c_uint32, c_void_p, c_void_p]
    return library


def _source() -> str:
    """machine.c with its parts pasted in, so that one text is compiled and hashed."""

    def paste(name: str) -> str:
        return re.sub(r'^#include "(\w+\.[ch])"$', lambda m: paste(m[1]), (HERE / name).read_text(), flags=re.M)

    return paste("machine.c")

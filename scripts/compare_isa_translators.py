#!/usr/bin/env python3
"""Compare two translations of AMD's pseudocode, instruction by instruction, on random and special inputs.

    scripts/compare_isa_translators.py EMULATE_PY TINYGRAD_SRC OBJECT.hsaco ...

Ours (hfc.isa) against the ALU code of tinygrad's own emulator, as the tool EMULATE_PY uses it (the emulator that
hfc.isa grew from). Each distinct ALU instruction of the code objects runs alone in both machines from equal registers;
registers, masks and SCC must be equal afterwards. Prints one line for each instruction that ever differed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from hfc.isa.errors import Unsupported
from hfc.isa.line import Line
from hfc.isa.machine import KIND, Machine, Wave, core
from hfc.isa.program import KernelProgram, load_code_object
from hfc.isa.target import target_of

STATES = 12  # random register files for each instruction
SPECIAL32 = np.array(
    [0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7FA00000, 1, 0x807FFFFF, 0x7F7FFFFF]
    + [0x00800000, 0x3F000000, 0xBF000000, 0x3EFFFFFF, 0x4B000001, 0x4F000000, 0xCF000000, 0x47800000, 0x33800000]
    + [0xFFFFFFFF, 0x7FFFFFFF, 31, 32, 33, 0x0000FFFF, 0x42FE0000, 0x43000000, 0xC2FE0000],
    np.uint32,
)
SPECIAL16 = np.array(
    [0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00, 1, 0x03FF, 0x8400, 0x7BFF, 0x3800, 0x37FF, 0xFFFF, 0x7FFF],
    np.uint16,
)
SCRATCH_VGPRS = 253  # the older tool lowers lane moves through registers from here on
LAST_SGPR = 106
NOT_COMPARED = {"v_readfirstlane_b32", "v_readlane_b32", "v_writelane_b32"}  # the same C in both


def values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A quarter each: any bits, ordinary floats, special floats and integers, pairs of special halves."""
    kind = rng.integers(0, 4, shape)
    halves = SPECIAL16[rng.integers(0, len(SPECIAL16), (*shape, 2))].astype(np.uint32)
    choices = (
        rng.integers(0, 1 << 32, shape, dtype=np.uint32),
        (rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)).astype(np.float32).view(np.uint32),
        SPECIAL32[rng.integers(0, len(SPECIAL32), shape)],
        halves[..., 0] | halves[..., 1] << 16,
    )
    return np.choose(kind, choices).astype(np.uint32)


class Registers:
    """A register file and the wave record that points to it; both machines have the same layout of both."""

    def __init__(self, wave_type, sgprs: np.ndarray, vgprs: np.ndarray, agprs: np.ndarray, mode: int, pc: int):
        self.s, self.v, self.a = sgprs.copy(), vgprs.copy(), agprs.copy()
        self.memory = np.zeros(1 << 16, np.uint8)
        data = self.memory.ctypes.data
        self.wave = wave_type(
            self.s.ctypes.data, self.v.ctypes.data, self.a.ctypes.data, data, data, pc, 0, 0, mode, 0, 0, 0, 0
        )


class Ours:
    def __init__(self, data: bytes, name: str):
        code_object = load_code_object(data, name)
        kernel = next(iter(code_object.kernels.values()))
        self.target = target_of(code_object.arch, kernel)
        self.program = KernelProgram(code_object, self.target)

    def run(self, address: int, registers: Registers) -> None:
        program = self.program
        machine = Machine(
            prog=ctypes.addressof(program.records), base=program.base + program.first, n=program.count,
            ws=self.target.wave, m0=self.target.m0, limit=1 << 40,
        )  # fmt: skip
        registers.wave.pc = program.base + address
        core().vm_run(ctypes.byref(machine), ctypes.byref(registers.wave), 1)

    def is_alu(self, line: Line) -> bool:
        """Lowered without refusal, to an ALU record?"""
        try:
            self.program.fill(line.address)
        except Unsupported:
            return False
        return self.program.records[(line.address - self.program.first) // 4].kind == KIND["K_ALU"]


class Theirs:
    def __init__(self, tool, path: str):
        self.tool = tool
        self.loaded = tool.load(path)
        kernel = next(iter(self.loaded.co.kernels.values()))
        self.target = tool.Target.of(self.loaded.co, kernel)
        self.table = self.loaded.table(kernel, self.target)

    def run(self, address: int, registers: Registers) -> None:
        table = self.table
        self.table.fill(address)
        machine = self.tool._VM(
            prog=ctypes.addressof(table.recs), base=self.loaded.base + table.lo, n=table.n, ws=self.target.wave,
            m0=self.target.m0, limit=1 << 40,
        )  # fmt: skip
        registers.wave.pc = self.loaded.base + address
        self.tool._vm().vm_run(ctypes.byref(machine), ctypes.byref(registers.wave), 1)


def start_sgprs(rng: np.random.Generator, wave: int, ours: bool) -> np.ndarray:
    """Random SGPRs; for the older tool also the inline constants, which it keeps in the register file."""
    s = np.zeros(512, np.uint32)
    s[: LAST_SGPR + 2] = values(rng, (LAST_SGPR + 2,))
    full = rng.integers(0, 2)
    mask = (1 << 64) - 1 if full else int(rng.integers(0, 1 << 63)) | 1
    s[126], s[127] = mask & 0xFFFFFFFF, mask >> 32 if wave == 64 else 0
    s[253] = rng.integers(0, 2)
    if not ours:
        s[128:193] = np.arange(65)
        s[193:209] = (-np.arange(1, 17)).astype(np.int64).astype(np.uint32)
        s[240:249] = np.array([0.5, -0.5, 1, -1, 2, -2, 4, -4, 0.15915494], np.float32).view(np.uint32)
    return s


def is_nan(x: int) -> bool:
    """NaN as f32, or in either half as f16."""
    return x & 0x7FFFFFFF > 0x7F800000 or x & 0x7FFF > 0x7C00 or x >> 16 & 0x7FFF > 0x7C00


def classify(a: np.ndarray, b: np.ndarray) -> str:
    """What kind of difference two register files have: NaN payloads, last bits, or another value."""
    at = np.flatnonzero(a != b)
    pairs = [(int(a[i]), int(b[i])) for i in at]
    if all(is_nan(x) and is_nan(y) for x, y in pairs):
        return "nan bits"
    if all(abs((x & 0xFFFF) - (y & 0xFFFF)) <= 2 and abs((x >> 16) - (y >> 16)) <= 1 for x, y in pairs):
        return "last bits"
    return "value"


def signature(line: Line) -> str:
    """Instructions that run through the same code: the name, the kinds of operands, the modifiers."""
    if "::" in line.text:
        return re.sub(r"\d+", "#", line.text)
    kinds = [re.sub(r"\d+", "#", o) if re.match(r"[-|]*[vsa]", o) else "const" for o in line.operands]
    modifiers = [k + v if "sel" in k or k.startswith("neg") else k for k, v in line.modifiers.items()]
    return " ".join([line.name, *kinds, *modifiers])


def compare(tool, paths: list[str]) -> tuple[Counter, dict, Counter]:
    """(instructions compared by name, differences by (name, kind) with an example, refused by the older tool)."""
    rng = np.random.default_rng(3)
    seen, compared, refused = set(), Counter(), Counter()
    differences: dict[tuple[str, str, str], list] = defaultdict(list)
    for path in paths:
        data = Path(path).read_bytes()
        ours, theirs = Ours(data, path), Theirs(tool, path)
        family, wave = ours.target.family, ours.target.wave
        for line in ours.program.lines.values():
            key = (family, ours.target.arch[:5], signature(line))
            if key in seen or line.base in NOT_COMPARED or not ours.is_alu(line):
                continue
            seen.add(key)
            try:
                theirs.table.fill(line.address)
            except tool.EmulatorError:
                refused[f"{family} {line.base}"] += 1
                continue
            compared[f"{family} {line.base}"] += 1
            for _ in range(STATES):
                one_difference(rng, ours, theirs, tool, line, wave, family, differences)
    return compared, differences, refused


def one_difference(rng, ours, theirs, tool, line: Line, wave: int, family: str, differences: dict) -> None:
    seed, mode = int(rng.integers(0, 1 << 31)), 0xF0 | (0 if family == "rdna4" else 1 << 9)
    vgprs, agprs = values(rng, (256 * wave,)), values(rng, (256 * wave,))
    a = Registers(Wave, start_sgprs(np.random.default_rng(seed), wave, True), vgprs, agprs, mode, 0)
    b = Registers(tool._Wave, start_sgprs(np.random.default_rng(seed), wave, False), vgprs, agprs, mode, 0)
    ours.run(line.address, a)
    theirs.run(line.address, b)
    for r in (a, b):
        r.v = r.v[: SCRATCH_VGPRS * wave]
        r.s = np.concatenate([r.s[: LAST_SGPR + 2], r.s[126:128], r.s[253:254]])
    for part, x, y in (("vgpr", a.v, b.v), ("sgpr", a.s, b.s), ("agpr", a.a, b.a)):
        if not np.array_equal(x, y):
            found = differences[(f"{family} {line.base}", part, classify(x, y))]
            if len(found) < 1:
                found.append(example(line, part, x, y, vgprs, wave))
            found.append(1)


def example(line: Line, part: str, x: np.ndarray, y: np.ndarray, vgprs: np.ndarray, wave: int) -> str:
    at = int(np.flatnonzero(x != y)[0])
    lane = at % wave
    sources = re.findall(r"\bv\[?(\d+)", line.text)[1:]
    inputs = " ".join(f"v{n}={int(vgprs[int(n) * wave + lane]):08x}" for n in sources)
    where = f"v{at // wave} lane {lane}" if part == "vgpr" else f"{part} {at}"
    return f"{line.text} [{inputs}]: {where}: ours {int(x[at]):08x}, theirs {int(y[at]):08x}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("tinygrad")
    parser.add_argument("objects", nargs="+")
    arguments = parser.parse_args()
    os.environ["TINYGRAD_SRC"] = arguments.tinygrad
    spec = importlib.util.spec_from_file_location("emulate", arguments.tool)
    tool = importlib.util.module_from_spec(spec)
    sys.modules["emulate"] = tool
    spec.loader.exec_module(tool)
    compared, differences, refused = compare(tool, arguments.objects)
    print(
        f"{len(compared)} instructions in {sum(compared.values())} forms compared, "
        f"{len(refused)} not known to the older tool"
    )
    for name in sorted(refused):
        print(f"  not compared: {name}")
    for (name, part, kind), found in sorted(differences.items()):
        print(f"{name}: {part}: {kind}, {len(found) - 1} states, e.g. {found[0]}")


if __name__ == "__main__":
    main()

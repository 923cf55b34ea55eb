"""Gates: assembly and resources of a kernel against what its skeleton declares. A kernel that breaks one is an error.

    scratch, spills, lds   no memory a lane, no register in memory, no more LDS than a thread block can have
    lanes                  a SIMD holds at least this many lanes at a time, counted by vector registers
    flat                   no access in a loop whose address space is unknown
    loads                  no global load in a loop is narrower than declared
    promises               the instructions that the variant is there for are in the code
    halves                 PTX: no byte of a half is stored out of the register that its conversion wrote

A template declares its limits where it stands (hfc/backend/template.py), with everything that may fall short of them and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hfc.backend.assembly import accesses, loop_lines
from hfc.backend.template import KernelLimits
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

# Feature -> the instruction that proves it, on AMD or in PTX.
INSTRUCTIONS: dict[str, str] = {
    "packed_f16": r"v_pk_(fma|mul|add)_f16|\b(fma|mul|add)\S*\.f16x2",
    "packed_f32": r"v_pk_(fma|mul|add)_f32",
    "dot2_f16": r"v_(dual_)?dot2(c|acc)?_f32_f16",
    "dot4_i8": r"v_dot4c?_i32_iu?8|\bdp4a\.",
    "sdot4": r"v_dot4c?_i32_i8",
    "sudot4": r"v_dot4_i32_iu8",
    "dot8_i4": r"v_dot8c?_i32_iu?4",
    "sdot8": r"v_dot8c?_i32_i4",
    "sudot8": r"v_dot8_i32_iu4",
    "fp8": r"v_cvt_(pk_)?f32_fp8|v_cvt_pk_fp8_f32",
    "dual_issue": r"v_dual_",
    "wmma_f16": r"v_wmma_f32_16x16x16_f16",
    "wmma_bf16": r"v_wmma_f32_16x16x16_bf16",
    "wmma_i8": r"v_wmma_i32_16x16x16_iu8",
    "wmma_i4": r"v_wmma_i32_16x16x16_iu4",
    "wmma_fp8": r"v_wmma_f32_16x16x16_(fp8|bf8)",
    "mfma_f16": r"v_mfma_f32_\d+x\d+x\d+_?f16",
    "mfma_f16_k32": r"v_mfma_f32_(16x16x32|32x32x16)_?f16",
    "mfma_bf16": r"v_mfma_f32_\d+x\d+x\d+_?bf16",
    "mfma_i8": r"v_mfma_i32_16x16x16_?i8",
    "mfma_i8_k32": r"v_mfma_i32_(16x16x32|32x32x16)_?i8",
    "mfma_fp8": r"v_mfma_f32_\d+x\d+x\d+_?fp8",
    "mma_f16": r"\bmma\.sync\S*\.f16",
    "wgmma_f16": r"wgmma\.mma_async\S*\.f16",
    "mma_bf16": r"\bmma\.sync\S*\.bf16",
    "mma_i8": r"\bmma\.sync\S*\.[su]8",
    "async_copy": r"\bcp\.async",
    "early_launch": r"\bgriddepcontrol\.wait",
}

# ptxas takes a byte stored out of such a register for the half's value rounded to a whole number (findings/ptxas-byte-of-a-half.sh).
HALF = re.compile(r"\bcvt\.\S+\.b?f16\.f32\s+(%\w+),")
STORED_BYTE = re.compile(r"\bst\.\S*b8\s+\[[^\]]*\], (%\w+);")


@dataclass(frozen=True)
class Contract:
    """A kernel's own limits, resolved. waves: fewest a SIMD must hold.  narrowest: bytes; 0: any width."""

    waves: int = 1
    narrowest: int = 0
    promises: tuple[str, ...] = ()


UNIVERSAL = Contract()  # what holds for code of any origin


@dataclass(frozen=True)
class Broken:
    """gate: which.  figure: what was found, limit: what is allowed, both with their units."""

    gate: str
    figure: str
    limit: str


def contract_for(
    limits: KernelLimits, arch: Arch, formats: Iterable[str] = (), elements: int = 0, uses: Iterable[str] = ()
) -> Contract:
    """formats: of the weights it reads and the KV cache it writes.  elements: of a weight's row.  uses: the features of this variant."""
    formats = frozenset(formats)
    lanes = _allowed("lanes", limits, limits.lanes, arch, formats)
    aligned = elements > 0 and elements % 32 == 0
    narrowest = limits.narrowest if aligned and limits.narrowest else 0
    if narrowest:
        narrowest = _allowed("loads", limits, narrowest, arch, formats)
    return Contract(-(-lanes // arch.wave), narrowest, tuple(uses))


def together(contracts: Sequence[Contract]) -> Contract:
    """Of kernels that share a launch: the waves of the one that takes most registers, and loads as narrow as any has."""
    promises = dict.fromkeys(feature for one in contracts for feature in one.promises)
    return Contract(min(c.waves for c in contracts), min(c.narrowest for c in contracts), tuple(promises))


def _allowed(gate: str, limits: KernelLimits, limit: int, arch: Arch, formats: frozenset[str]) -> int:
    rows = [row for row in limits.allowances if row.gate == gate and row.arch(arch)]
    return min([limit, *(row.limit for row in rows if row.formats is None or row.formats & formats)])


def broken(assembly: str, resources, arch: Arch, contract: Contract = UNIVERSAL) -> list[Broken]:
    """Every gate that the kernel breaks. resources: as hfc.backend.compile.Resources."""
    found = _memory(resources, arch)
    if resources.occupancy and resources.occupancy < contract.waves:
        figure = f"{resources.vgprs} vector registers let a SIMD hold {resources.occupancy} waves of {arch.wave}"
        found.append(
            Broken("lanes", figure, f"at least {contract.waves}, {_registers(contract.waves, arch)} registers or fewer")
        )
    found += _loop_accesses(assembly, arch, contract)
    torn = set(HALF.findall(assembly)) & set(STORED_BYTE.findall(assembly))
    if torn:
        found.append(Broken("halves", f"a byte of the half in {sorted(torn)[0]} is stored", "a half stored whole"))
    for feature in contract.promises:
        assert feature in INSTRUCTIONS, f"no instruction is known for the feature {feature}"
        if not re.search(INSTRUCTIONS[feature], assembly):
            found.append(
                Broken("promises", f"no instruction of {feature}", f"one that matches {INSTRUCTIONS[feature]}")
            )
    return found


def _memory(resources, arch: Arch) -> list[Broken]:
    limits = (
        ("scratch", f"{resources.scratch_bytes} scratch bytes", resources.scratch_bytes, 0),
        ("spills", f"{resources.spills} spilled registers", resources.spills, 0),
        ("lds", f"{resources.lds_bytes} LDS bytes of a thread block", resources.lds_bytes, arch.lds_bytes),
    )
    return [Broken(gate, text, str(limit)) for gate, text, figure, limit in limits if figure > limit]


def _registers(waves: int, arch: Arch) -> int:
    """Most vector registers with which a SIMD still holds `waves`."""
    return arch.vgprs // waves // arch.granule * arch.granule


def _loop_accesses(assembly: str, arch: Arch, contract: Contract) -> list[Broken]:
    found = accesses(loop_lines(assembly), arch.platform.assembly)
    made = []
    flat = [access for access in found if access.space in ("flat", "generic")]
    if flat:
        made.append(
            Broken("flat", f"{_named(flat)} in a loop", "an address space known to the compiler: global or LDS")
        )
    narrow = [a for a in found if a.is_load and a.space == "global" and 0 < a.size < contract.narrowest]
    if narrow:
        made.append(Broken("loads", f"{_named(narrow)} in a loop", f"loads of {contract.narrowest} bytes or more"))
    return made


def _named(found: list) -> str:
    """ "3 flat_load_b32 (first in line 17)" """
    return (
        f"{len(found)} {', '.join(sorted({a.mnemonic for a in found}))} (first in line {found[0].line} of the assembly)"
    )

"""Gates: assembly and resources of a kernel against what its skeleton declares. A kernel that breaks one is an error.

    scratch, spills, lds   no memory a lane, no register in memory, no more LDS than a thread block can have
    lanes                  a SIMD holds at least so many lanes at a time, counted by vector registers
    flat                   no access in a loop whose address space is unknown
    loads                  no global load in a loop is narrower than declared
    promises               the instructions that the variant is there for are in the code

`SKELETONS` is what templates declare, `EXCEPTIONS` is everything that may fall short of it, each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath

from hfc.backend.assembly import accesses, loop_lines
from hfc.formats import KV_FORMATS
from hfc.target.arch import Arch


@dataclass(frozen=True)
class Skeleton:
    """What the variants of one template keep to.

    lanes: fewest lanes that a SIMD must hold (4 waves of 32 are 128), and why.  narrowest: bytes of the narrowest global
    load in a loop, for rows of a multiple of 32 elements; None: the template moves single elements.  promises: features
    (INSTRUCTIONS) of every variant.  tunables: numbers of the geometry that can be halved alone.
    """

    lanes: int
    why: str
    narrowest: int | None = None
    promises: tuple[str, ...] = ()
    tunables: tuple[str, ...] = ()


SKELETONS: dict[str, Skeleton] = {
    "linear": Skeleton(
        128, "bound by memory: 128 lanes with 4 outputs each keep about 3 kB in flight, what a SIMD's share of the "
        "bandwidth brings in one latency", narrowest=2, tunables=("outputs", "vector"),
    ),
    "linear_tiled": Skeleton(
        128, "bound by arithmetic: the 16 sums of a lane are independent, and two blocks of a CU cover each other's "
        "barriers", narrowest=2, tunables=("tile_rows", "tile_outputs", "depth"),
    ),
    "linear_wide": Skeleton(
        128, "bound by memory: every lane fetches whole words of 32 weights and several outputs ahead", narrowest=2,
        tunables=("outputs", "tile"),
    ),
    "linear_dot": Skeleton(
        128, "bound by memory: every lane fetches whole words of 32 weights and several outputs ahead", narrowest=1,
        tunables=("outputs", "together"),
    ),
    "dot_stage": Skeleton(256, "reads rows and writes them: only many lanes hide the latency"),
    "linear_one": Skeleton(
        128, "bound by memory: a wave's next turn of 16 outputs is on its way while it multiplies one", narrowest=1,
    ),
    "linear_few": Skeleton(
        128, "bound by memory: a wave's next turn of 16 outputs is on its way while it multiplies one", narrowest=1,
    ),
    "few_stage": Skeleton(256, "reads rows and writes them: only many lanes hide the latency"),
    "linear_matrix": Skeleton(
        128, "bound by arithmetic: a wave's products are independent, and a block's loads fly while it multiplies",
        narrowest=1, tunables=("tile_rows",),
    ),
    "expert_sort": Skeleton(256, "counts and writes: only many lanes hide the latency"),
    "linear_finish": Skeleton(256, "reads and writes: only many lanes hide the latency"),
    "linear_rotate": Skeleton(256, "reads rows and writes them: only many lanes hide the latency"),
    "linear_stage": Skeleton(256, "reads rows and writes them: only many lanes hide the latency"),
    "attend_split": Skeleton(
        128, "bound by memory: a lane fetches the keys and values of four positions before it uses one", tunables=("ahead", "together"),
    ),
    "attend_join": Skeleton(128, "reads a few sums a row: eight loads of a lane are under way together"),
    "attend_tile": Skeleton(
        128, "bound by arithmetic: two products are under way for each pair of queries and keys, and a block loads while it multiplies",
        tunables=("lines",),
    ),
    "attend_lines": Skeleton(128, "bound by arithmetic: the elements of a lane are independent sums", tunables=("ahead", "keys")),
    "attend_turn": Skeleton(256, "reads queries and writes them: only many lanes hide the latency"),
    "delta": Skeleton(128, "the state lies in registers by design; its rows are independent products"),
    "delta_stage": Skeleton(256, "reads rows and writes them: only many lanes hide the latency"),
    "delta_columns": Skeleton(128, "the state lies in registers by design; its rows are independent products"),
    "delta_finish": Skeleton(256, "reads rows and writes them: only many lanes hide the latency"),
    "map": Skeleton(256, "little work a lane: only many lanes hide the latency"),
    "conv": Skeleton(256, "little work a lane: only many lanes hide the latency"),
    "route": Skeleton(128, "one wave a row"),
    "top": Skeleton(256, "scans the vocabulary: only many lanes hide the latency"),
    "select": Skeleton(128, "one wave a segment"),
    "adopt": Skeleton(256, "copies a word a lane"),
    "sample": Skeleton(256, "scans the vocabulary: only many lanes hide the latency"),
}  # fmt: skip
NEW_SKELETON = Skeleton(128, "what holds for a template without a row of its own")


@dataclass(frozen=True)
class Allowance:
    """A kernel of `skeleton` may go down to `limit` at `gate` ("lanes", "loads"), on archs and for formats that apply."""

    gate: str
    skeleton: str
    limit: int
    reason: str
    formats: frozenset[str] | None = None  # None: any
    arch: Callable[[Arch], bool] = lambda arch: True


_BYTE_SCALES = frozenset({"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "hfc4", "hfp4b256", "mfp4b256"})
_SMALL_BLOCKS = frozenset({"q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"})
_TURNED_KEYS = frozenset(name for name, form in KV_FORMATS.items() if form.default_v)  # values cannot lie in them
_BIT_STREAMS = frozenset(
    f"{kind}{bits}g256{version}" for kind in ("hfq", "mq") for bits in (3, 4, 6) for version in ("", "v2")
)

EXCEPTIONS: tuple[Allowance, ...] = (
    Allowance(
        "lanes", "linear_tiled", 64, "two zipped parts of a k-quant need up to 140 of 256 registers; a block of 256 "
        "threads still puts one wave on each SIMD", arch=lambda arch: arch.vgprs == 256,
    ),
    Allowance(
        "lanes", "map", 192, "a key is held whole while its levels are tried at four sizes: 80 registers on gfx906, 131 on gfx1010; one "
        "key a row and head is little work beside its projection", _TURNED_KEYS,
    ),
    Allowance("loads", "linear", 1, "scales and high bits of a k-quant are bytes", _BYTE_SCALES),
    Allowance("loads", "linear_tiled", 1, "scales and high bits of a k-quant are bytes", _BYTE_SCALES),
    Allowance("loads", "linear", 1, "codes of a bit stream begin at any bit: bytes are joined where they can be", _BIT_STREAMS),
    Allowance("loads", "linear_tiled", 1, "codes of a bit stream begin at any bit: bytes are joined where they can be", _BIT_STREAMS),
    Allowance("loads", "linear", 1, "elements i and i + 16 share a byte: the compiler cannot join the bytes of 8", _SMALL_BLOCKS),
    Allowance("loads", "linear_tiled", 1, "elements i and i + 16 share a byte: the compiler cannot join them", _SMALL_BLOCKS),
    Allowance(
        "loads", "linear", 1, "PTX joins bytes only where the pointer's alignment is known", arch=lambda arch: arch.kind == "nvidia",
    ),
    Allowance(
        "loads", "linear_tiled", 1, "PTX joins bytes only where the pointer's alignment is known",
        arch=lambda arch: arch.kind == "nvidia",
    ),
)  # fmt: skip

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
    "mfma_bf16": r"v_mfma_f32_\d+x\d+x\d+_?bf16",
    "mfma_i8": r"v_mfma_i32_16x16x16_?i8",
    "mfma_i8_k32": r"v_mfma_i32_(16x16x32|32x32x16)_?i8",
    "mfma_fp8": r"v_mfma_f32_\d+x\d+x\d+_?fp8",
    "mma_f16": r"\bmma\.sync\S*\.f16",
    "mma_bf16": r"\bmma\.sync\S*\.bf16",
    "mma_i8": r"\bmma\.sync\S*\.[su]8",
    "async_copy": r"\bcp\.async",
}


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


def skeleton_of(template: str) -> tuple[str, Skeleton]:
    """Name and declarations of a template file ("kernels/linear.hip.j2")."""
    name = PurePath(template).name.split(".")[0]
    return name, SKELETONS.get(name, NEW_SKELETON)


def contract_for(
    template: str, arch: Arch, formats: Iterable[str] = (), elements: int = 0, uses: Iterable[str] = ()
) -> Contract:
    """formats: of the weights it reads and the KV cache it writes.  elements: of a weight's row.  uses: the features of this variant."""
    name, skeleton = skeleton_of(template)
    formats = frozenset(formats)
    lanes = _allowed("lanes", name, skeleton.lanes, arch, formats)
    aligned = elements > 0 and elements % 32 == 0
    narrowest = skeleton.narrowest if aligned and skeleton.narrowest else 0
    if narrowest:
        narrowest = _allowed("loads", name, narrowest, arch, formats)
    return Contract(-(-lanes // arch.wave), narrowest, (*skeleton.promises, *uses))


def _allowed(gate: str, skeleton: str, limit: int, arch: Arch, formats: frozenset[str]) -> int:
    rows = [row for row in EXCEPTIONS if (row.gate, row.skeleton) == (gate, skeleton) and row.arch(arch)]
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
    found = accesses(loop_lines(assembly), arch.kind)
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

"""ARCHS: what each GPU architecture can do, one row each. The only place that knows gfx names.

Sources: LLVM's AMDGPU processor table (registers, granules, waves, instructions; every feature is also probed by
compiling, see tests/test_arch_probes.py) and the vendors' data sheets (caches, cards). Bandwidth is the peak in GB/s.
"""

from __future__ import annotations

import re
from dataclasses import replace

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import unknown
from hfc.target.names import no_such_arch
from hfc.target.platform import AMD_PLATFORM, HOST_PLATFORM, NVIDIA_PLATFORM, Platform
from hfc.target.tuning import NVIDIA_TUNING, Tuning
from hfc.target.twins import FAMILIES, TWINS, Twin


@dataclass(frozen=True)
class CardSpec:
    """A product. compute_units: CUs (SMs).  bandwidth_gb_s: of the memory, peak.  memory_gb: VRAM, or shared RAM.

    clock_mhz: the highest that the data sheet names (boost)."""

    name: str
    compute_units: int
    bandwidth_gb_s: int
    memory_gb: int
    clock_mhz: int


@dataclass(frozen=True)
class Arch:
    """One architecture.

    platform: what holds for all archs of its toolchain.  wave: lanes of a wave.  lds_bytes: most that a kernel can declare for a thread block;
    launched_lds_bytes: with what a launch asks for, 0: no more.
    vgprs: vector registers of a SIMD for one lane; granule: allocation step; waves: most waves a SIMD holds.
    addressable_vgprs: most that one wave can use.  l2_mb, l3_mb: caches of the largest card (l3: memory-side cache).
    features: see FEATURES.  target_features: switches of the compiler's back end, e.g. "-real-true16".
    code_object_version: 5 loads on every ROCm since 5.5; generic targets need 6, which needs ROCm 6.3.
    twin: an arch that the compiler does not tell from this one: equal sources give equal instructions (a test compares them).
    tuning: measured numbers by which geometries differ.
    paired_compute_units: two share their LDS (a workgroup processor of RDNA): 128 KB for the blocks of both.
    watches_peers: a kernel sees what another card writes to this one's memory meanwhile, in memory as a driver gives it by default.
    """

    name: str
    platform: Platform
    wave: int
    lds_bytes: int
    vgprs: int
    granule: int
    waves: int
    addressable_vgprs: int
    l2_mb: int
    l3_mb: int
    features: frozenset[str]
    cards: tuple[CardSpec, ...] = ()
    target_features: tuple[str, ...] = ()
    twin: str | None = None
    code_object_version: int = 5
    tuning: Tuning = Tuning()
    paired_compute_units: bool = False
    launched_lds_bytes: int = 0
    watches_peers: bool = False

    @property
    def most_lds_bytes(self) -> int:
        """Of a thread block, declared and asked for by its launch."""
        return self.launched_lds_bytes or self.lds_bytes

    @property
    def scarce_registers(self) -> bool:
        """A SIMD has 256 vector registers for each lane (GCN, CDNA 1): two waves hold 128 each."""
        return self.vgprs == 256

    def has(self, feature: str) -> bool:
        if feature not in FEATURES:
            raise unknown("feature", feature, FEATURES)
        return feature in self.features

    def occupancy(self, vgprs: int) -> int:
        """Waves that a SIMD can hold when each uses `vgprs` vector registers; other limits are not counted."""
        allocated = max(1, -(-vgprs // self.granule)) * self.granule
        return min(self.waves, self.vgprs // allocated)


FEATURES = {
    "packed_f16": "two f16 operations in one instruction",
    "packed_f32": "two f32 operations in one instruction",
    "dot2_f16": "f32 += f16 x f16, two products",
    "dot4_i8": "i32 += i8 x i8, four products",
    "sdot4": "dot4_i8 spelled as the signed instruction",
    "sudot4": "dot4_i8 spelled with a sign choice per operand",
    "dot8_i4": "i32 += i4 x i4, eight products",
    "sdot8": "dot8_i4 spelled as the signed instruction",
    "sudot8": "dot8_i4 spelled with a sign choice per operand",
    "fp8": "conversion between fp8 and f32",
    "dual_issue": "two f32 operations paired in one instruction word (VOPD)",
    "wmma_f16": "16x16x16 matrix product of a wave, f16 in, f32 out",
    "wmma_bf16": "the same with bf16",
    "wmma_i8": "the same with i8 in, i32 out",
    "wmma_i4": "the same with i4 in, i32 out",
    "wmma_fp8": "the same with fp8",
    "wmma_replicated": "wmma operands are repeated in both halves of the wave",
    "wmma_split": "wmma operands are split over the halves of the wave",
    "mma_f16": "16x8x16 matrix product of a warp, f16 in, f32 out",
    "mma_i8": "16x8x16 and 16x8x32 matrix product of a warp, i8 in, i32 out",
    "wgmma_f16": "64-line matrix product of four warps, f16 in, f32 out, one operand in LDS",
    "mfma_f16": "matrix core product, f16 in, f32 out",
    "mfma_bf16": "the same with bf16 (_1k form)",
    "mfma_i8": "the same with i8, 16 deep",
    "mfma_i8_k32": "the same with i8, 32 deep",
    "mfma_fp8": "the same with fp8 (fnuz on CDNA3, OCP on CDNA4)",
    "mfma_f16_k32": "the same with f16, 32 deep",
    # Not instructions.
    "rocblas": "large prefill products of f16 and bf16 weights go to rocBLAS where it is installed",
    # On RDNA1/2 a graph costs more than its launches (-6...18 %), on RDNA3 and CDNA3 it gains nothing.
    "early_launch": "a kernel starts while the one ahead of it ends, and waits for its inputs by itself",
    "graphs": "launching a captured graph is cheaper than launching its kernels one by one",
}

_DOT_SIGNED = {"dot2_f16", "dot4_i8", "sdot4", "dot8_i4", "sdot8"}
_DOT_CHOICE = {"dot2_f16", "dot4_i8", "sudot4", "dot8_i4", "sudot8"}
_WMMA = {"wmma_f16", "wmma_bf16", "wmma_i8", "wmma_i4"}
_GCN = {"packed_f16"} | _DOT_SIGNED
_MI100 = _GCN | {"mfma_f16", "mfma_i8"}
_MI200 = _MI100 | {"packed_f32", "mfma_bf16"}
_MI300 = (_MI200 - {"mfma_i8"}) | {"mfma_i8_k32", "mfma_fp8", "fp8", "rocblas"}
_MI350 = _MI300 | {"mfma_f16_k32"}
_RDNA1 = {"packed_f16"}
_RDNA2 = _RDNA1 | _DOT_SIGNED
_RDNA3 = _RDNA1 | _DOT_CHOICE | _WMMA | {"wmma_replicated", "dual_issue"}
_RDNA4 = _RDNA1 | _DOT_CHOICE | _WMMA | {"wmma_split", "wmma_fp8", "fp8", "dual_issue"}


def _amd(
    name: str,
    wave: int,
    vgprs: int,
    granule: int,
    waves: int,
    l2_mb: int,
    l3_mb: int,
    features: set[str],
    *cards: tuple[str, int, int, int, int],
    twin: str | None = None,
    lds_bytes: int = 65536,
) -> Arch:
    addressable = 512 if vgprs == 512 else 256
    # True16 encodings are newer than the disassemblers of most distributions (LLVM 19), and gain our kernels nothing.
    target_features = ("-real-true16",) if "wmma_replicated" in features else ()
    return Arch(
        name,
        AMD_PLATFORM,
        wave,
        lds_bytes,
        vgprs,
        granule,
        waves,
        addressable,
        l2_mb,
        l3_mb,
        frozenset(features),
        tuple(CardSpec(*card) for card in cards),
        target_features,
        twin,
        paired_compute_units=wave == 32,
    )


# fmt: off
_ROWS: tuple[Arch, ...] = (
    # name, wave, vgprs, granule, waves, L2 MB, L3 MB, features, cards (name, CUs, GB/s, GB, MHz)
    _amd("gfx906", 64, 256, 4, 10, 4, 0, _GCN,
        ("Instinct MI50", 60, 1024, 16, 1725), ("Instinct MI60", 64, 1024, 32, 1800), ("Radeon VII", 60, 1024, 16, 1750)),
    _amd("gfx908", 64, 256, 4, 10, 8, 0, _MI100, ("Instinct MI100", 120, 1229, 32, 1502)),
    _amd("gfx90a", 64, 512, 8, 8, 8, 0, _MI200, ("Instinct MI210", 104, 1638, 64, 1700), ("Instinct MI250X, one die of two", 110, 1638, 64, 1700)),
    _amd("gfx942", 64, 512, 8, 8, 32, 256, _MI300,
        ("Instinct MI300X", 304, 5300, 192, 2100), ("Instinct MI325X", 304, 6000, 256, 2100), ("Instinct MI300A", 228, 5300, 128, 2100)),
    _amd("gfx950", 64, 512, 8, 8, 32, 256, _MI350,
        ("Instinct MI350X", 256, 8000, 288, 2200), ("Instinct MI355X", 256, 8000, 288, 2400), lds_bytes=163840),
    _amd("gfx1010", 32, 1024, 8, 20, 4, 0, _RDNA1, ("RX 5700 XT", 40, 448, 8, 1905), ("RX 5700", 36, 448, 8, 1725), ("RX 5600 XT", 36, 288, 6, 1560)),
    _amd("gfx1011", 32, 1024, 8, 20, 4, 0, _RDNA2, ("Radeon Pro V520", 36, 512, 8, 1600), ("Radeon Pro 5600M", 40, 394, 8, 1035)),
    _amd("gfx1012", 32, 1024, 8, 20, 2, 0, _RDNA2, ("RX 5500 XT", 22, 224, 8, 1845), ("Radeon Pro W5500", 22, 224, 8, 1900), twin="gfx1011"),
    _amd("gfx1030", 32, 1024, 16, 16, 4, 128, _RDNA2,
        ("RX 6800", 60, 512, 16, 2105), ("RX 6800 XT", 72, 512, 16, 2250), ("RX 6900 XT", 80, 512, 16, 2250),
        ("RX 6950 XT", 80, 576, 16, 2310), ("Radeon Pro W6800", 60, 512, 32, 2320)),
    _amd("gfx1031", 32, 1024, 16, 16, 3, 96, _RDNA2,
        ("RX 6700 XT", 40, 384, 12, 2581), ("RX 6750 XT", 40, 432, 12, 2600), ("RX 6700", 36, 320, 10, 2450), twin="gfx1030"),
    _amd("gfx1032", 32, 1024, 16, 16, 2, 32, _RDNA2,
        ("RX 6600", 28, 224, 8, 2491), ("RX 6600 XT", 32, 256, 8, 2589), ("RX 6650 XT", 32, 280, 8, 2635), twin="gfx1030"),
    _amd("gfx1100", 32, 1536, 24, 16, 6, 96, _RDNA3,
        ("RX 7900 XTX", 96, 960, 24, 2500), ("RX 7900 XT", 84, 800, 20, 2400), ("RX 7900 GRE", 80, 576, 16, 2245),
        ("Radeon Pro W7900", 96, 864, 48, 2495)),
    _amd("gfx1101", 32, 1536, 24, 16, 4, 64, _RDNA3, ("RX 7800 XT", 60, 624, 16, 2430), ("RX 7700 XT", 54, 432, 12, 2544)),
    _amd("gfx1102", 32, 1024, 16, 16, 2, 32, _RDNA3, ("RX 7600", 32, 288, 8, 2655), ("RX 7600 XT", 32, 288, 16, 2755)),
    _amd("gfx1103", 32, 1024, 16, 16, 2, 0, _RDNA3, ("Radeon 780M", 12, 120, 16, 2700)),
    _amd("gfx1150", 32, 1024, 16, 16, 2, 0, _RDNA3, ("Radeon 890M", 16, 120, 16, 2900)),
    _amd("gfx1151", 32, 1536, 24, 16, 2, 32, _RDNA3, ("Radeon 8060S", 40, 256, 96, 2900)),
    _amd("gfx1152", 32, 1024, 16, 16, 1, 0, _RDNA3, ("Radeon 860M", 8, 120, 16, 3000), twin="gfx1150"),
    _amd("gfx1200", 32, 1536, 24, 16, 4, 32, _RDNA4, ("RX 9060 XT", 32, 320, 16, 3130)),
    _amd("gfx1201", 32, 1536, 24, 16, 8, 64, _RDNA4,
        ("RX 9070 XT", 64, 640, 16, 2970), ("RX 9070", 56, 640, 16, 2520), ("Radeon AI Pro R9700", 64, 640, 32, 2920), twin="gfx1200"),
    Arch("sm_90", NVIDIA_PLATFORM, 32, 49152, 512, 8, 16, 255, 50, 0,
        frozenset({"packed_f16", "dot4_i8", "mma_f16", "mma_i8", "wgmma_f16", "graphs", "early_launch"}),
        (CardSpec("H100 SXM", 132, 3350, 80, 1980), CardSpec("H200", 132, 4800, 141, 1980)), ("+ptx80",), tuning=NVIDIA_TUNING,
        launched_lds_bytes=232448, watches_peers=True),
    Arch("host", HOST_PLATFORM, 1, 0, 0, 1, 0, 0, 0, 0, frozenset()),
)
# fmt: on


def _as(row: Twin) -> Arch:
    twin = next(arch for arch in _ROWS if arch.name == row.twin)
    cards = tuple(CardSpec(*card) for card in row.cards)
    return replace(twin, name=row.name, l2_mb=row.l2_mb, l3_mb=row.l3_mb, cards=cards, twin=row.twin)


ALL: tuple[Arch, ...] = (*_ROWS, *map(_as, TWINS))
ARCHS: dict[str, Arch] = {arch.name: arch for arch in ALL}
# For cards that no row knows. They are no rows of ARCHS: what has a row gets code of its own.
GENERIC: dict[str, Arch] = {
    family.target: replace(ARCHS[family.base], name=family.target, twin=None, code_object_version=6)
    for family in FAMILIES
}
AMD: tuple[Arch, ...] = tuple(arch for arch in ALL if arch.platform is AMD_PLATFORM)
GPUS: tuple[Arch, ...] = tuple(arch for arch in ALL if arch.platform.is_gpu)


def find_arch(name: str) -> Arch:
    """The row called `name`, or the generic target. HfcError with the nearest name if there is none."""
    if name not in ARCHS and name not in GENERIC:
        raise no_such_arch(name, {row.name: [card.name for card in row.cards] for row in ARCHS.values()})
    return ARCHS.get(name) or GENERIC[name]


def target_for(name: str) -> str:
    """What to compile for where the driver says `name`: its row, else its family's generic target, else the name itself."""
    if name in ARCHS:
        return name
    return next((family.target for family in FAMILIES if re.fullmatch(family.members, name)), name)

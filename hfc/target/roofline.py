"""The roofline of a card: how fast a list of launches could be at best. A bound, never a promise.

    seconds = sum over launches of max(bytes / bandwidth, operations / rate) + launch cost

Bandwidth and clock are the data sheet's; kernels reach 60 to 90 % of the first. Caches are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch, CardSpec
from hfc.target.timing import timing_of

# Operations (a product and its sum are two) per clock of a compute unit, by the feature that does them and, where
# generations differ, by another feature that tells them apart: first row that applies. Checked against the data sheets'
# peaks in tests/test_roofline.py.
RATES: tuple[tuple[str, str | None, int], ...] = (
    ("wmma_f16", "wmma_split", 1024),
    ("wmma_f16", None, 512),
    ("wmma_bf16", "wmma_split", 1024),
    ("wmma_bf16", None, 512),
    ("wmma_i8", "wmma_split", 2048),
    ("wmma_i8", None, 512),
    ("wmma_i4", "wmma_split", 4096),
    ("wmma_i4", None, 1024),
    ("wmma_fp8", None, 2048),
    ("mfma_f16", "mfma_f16_k32", 4096),
    ("mfma_f16", "mfma_fp8", 2048),
    ("mfma_f16", None, 1024),
    ("mfma_bf16", "mfma_f16_k32", 4096),
    ("mfma_bf16", "mfma_fp8", 2048),
    ("mfma_bf16", None, 1024),
    ("mfma_i8", None, 1024),
    ("mfma_i8_k32", "mfma_f16_k32", 8192),
    ("mfma_i8_k32", None, 4096),
    ("mfma_fp8", "mfma_f16_k32", 8192),
    ("mfma_fp8", None, 4096),
    ("mfma_f16_k32", None, 4096),
    ("mma_f16", None, 4096),
    ("mma_bf16", None, 4096),
    ("mma_i8", None, 8192),
    ("dot8_i4", None, 1024),
    ("dot4_i8", None, 512),
    ("dot2_f16", None, 256),
    ("packed_f16", None, 256),
)
# Plain f32: 64 lanes a compute unit, twice that where two operations go out together (an SM has 128 lanes).
F32_LANES, F32_RATE, F32_PAIRED_RATE = 64, 128, 256
PAIRED = ("dual_issue", "packed_f32")

# NVIDIA with a captured graph: about 1 a node. AMD's are in timing.py.


@dataclass(frozen=True)
class RooflineWork:
    """What one launch must at least move and compute. feature: the instruction that does the products; "" is f32."""

    bytes: float
    operations: float
    feature: str = ""


def bandwidth(card: CardSpec) -> float:
    """Bytes a second."""
    return card.bandwidth_gb_s * 1e9


def rate(arch: Arch, card: CardSpec, feature: str = "") -> float:
    """Operations a second with `feature`, at the data sheet's clock."""
    return operations_per_clock(arch, feature) * card.compute_units * card.clock_mhz * 1e6


def operations_per_clock(arch: Arch, feature: str = "") -> int:
    """Of one compute unit."""
    for name, generation, operations in RATES:
        if name == feature and (generation is None or arch.has(generation)):
            return operations
    assert not feature, f"no rate is known for {feature}"
    paired = any(arch.has(name) for name in PAIRED) or arch.tuning.lanes_per_clock > F32_LANES
    return F32_PAIRED_RATE if paired else F32_RATE


def launch_seconds(arch: Arch) -> float:
    """What a launch costs beyond its work: the gap before the next."""
    own = arch.platform.launch_us
    return (timing_of(arch).launch_us if own is None else own) * 1e-6


def least_seconds(launches: Iterable[RooflineWork], arch: Arch, card: CardSpec) -> float:
    """No run of these launches on this card is faster."""
    return sum(
        max(work.bytes / bandwidth(card), work.operations / rate(arch, card, work.feature)) + launch_seconds(arch)
        for work in launches
    )

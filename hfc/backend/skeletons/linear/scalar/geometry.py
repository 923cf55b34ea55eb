"""Decode, element by element: for sizes and formats that lanes cannot read in whole words. Serves every region."""

from __future__ import annotations

from hfc.backend.shape import Geometry
from hfc.backend.skeletons.linear.groups import group_blocks
from hfc.backend.skeletons.linear.limits import allowances_for_elements
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

WAVES = 4


@dataclass(frozen=True)
class ScalarParams(Params):
    """waves: of a block.  outputs: of a wave.  vector: elements that a lane reads at a time.  starts: first block of each group."""

    waves: int
    outputs: int
    vector: int
    starts: tuple[int, ...]
    groups: tuple[tuple[Matrix, ...], ...]


SCALAR = template(
    __file__,
    "linear_scalar",
    KernelLimits(
        128,
        "bound by memory: 128 lanes with 4 outputs each keep about 3 kB in flight, what a SIMD's share of the bandwidth brings in one "
        "latency",
        narrowest=2,
        tunables=("outputs", "vector"),
        allowances=allowances_for_elements("the compiler cannot join the bytes of 8"),
    ),
    ScalarParams,
)


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    region = bound.region
    outputs = max(1, 4 // region.together)  # four sums a lane, shared by the zipped matrices
    vector = 8 if all(part.format.block % 8 == 0 for part in region.parts) else 4
    starts, blocks = group_blocks(region, WAVES * outputs)
    rows = f"{bound.rows} * {region.top}" if region.top else bound.rows
    params = ScalarParams(WAVES, outputs, vector, starts, region.groups)
    return (Geometry(SCALAR, bound.name, (str(blocks), rows, "1"), WAVES * arch.wave, params, input_bits=24),)

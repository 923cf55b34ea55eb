"""Decode by wide loads: a lane reads whole words of 32 weights and multiplies them as f32."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.backend.lanes.loaders import CONTIGUOUS, PLAIN, LaneLoader, PlainLanes, lane_loader, present
from hfc.backend.shape import Geometry
from hfc.backend.skeletons.linear.groups import group_blocks, refuses_words
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256


@dataclass(frozen=True)
class WideParams(Params):
    """waves: of a block, of which `split` share K (split-K).  outputs: of a wave.  tile: inputs in LDS at a time, `pad` of them
    between paddings.  together: rows of a block.  count: matrices of the largest group.  resident: blocks of a compute unit.
    lanes_of: loader of each format.  starts: first block of each group."""

    waves: int
    outputs: int
    split: int
    tile: int
    together: int
    count: int
    resident: int
    pad: int
    lanes_of: Mapping[str, LaneLoader | PlainLanes]
    starts: tuple[int, ...]
    groups: tuple[tuple[Matrix, ...], ...]


WIDE = template(
    __file__,
    "linear_wide",
    KernelLimits(
        128,
        "bound by memory: every lane fetches whole words of 32 weights and several outputs ahead",
        narrowest=2,
        tunables=("outputs", "tile"),
    ),
    WideParams,
)


def refuses(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    return refuses_words(bound.region)


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    region, count = bound.region, bound.region.together
    loaders = {form.name: present(lane_loader(form)) if form.quantized else PLAIN for form in region.weight_formats}
    largest = max(region.parts, key=lambda p: p.n)
    waves, outputs = THREADS // arch.wave, max(1, arch.tuning.weight_streams // count)
    if arch.scarce_registers and region.rotate and any(form.table for form in region.weight_formats):
        outputs = 1  # with two, rotation and look-up take 132 registers where inputs come in tiles: one wave a SIMD
    split = split_k(region, arch)
    # With that many, or a tile of 4096, AMD's back end hoists whole weight rows out of the loop: it spills on gfx1100 and drops to
    # one wave per SIMD on gfx906.
    tile = max(arch.tuning.inputs_in_lds, arch.wave * split * CONTIGUOUS.elements)
    # 4 rows of two matrices take all registers of a lane on gfx1010, 2 half of them
    most_rows = min(arch.tuning.rows_of_a_block, 4 // count)
    together = 1 if region.top or arch.scarce_registers else max(1, min(most_rows, 8192 // tile))
    starts, blocks = group_blocks(region, waves // split * outputs)
    rows = f"({bound.rows} + {together - 1}) / {together}" if together > 1 else bound.rows
    rows = f"{bound.rows} * {region.top}" if region.top else rows
    params = WideParams(
        waves=waves,
        outputs=outputs,
        split=split,
        tile=tile,
        together=together,
        count=count,
        resident=2,
        pad=loaders[largest.format.name].map.span,
        lanes_of=loaders,
        starts=starts,
        groups=region.groups,
    )
    sources = "\n".join(loader.source for loader in loaders.values())
    return (
        Geometry(
            WIDE,
            bound.name,
            (str(blocks), rows, "1"),
            THREADS,
            params,
            loaders=sources,
            input_bits=24,
            declared=4 * together * (tile + tile // params.pad * 4 + tile // 8),
        ),
    )


def split_k(region: LinearRegion, arch: Arch) -> int:
    """Waves that share the K of an output: several where there are few outputs."""
    if takes_k_at_once(region, arch):
        return 1
    return 1 if region.outputs > 8192 else 2 if region.outputs > 2048 or arch.scarce_registers else 4


def takes_k_at_once(region: LinearRegion, arch: Arch) -> bool:
    """A wave has all of K in one iteration: others that shared it would have nothing to do."""
    return region.k <= arch.wave * CONTIGUOUS.elements

"""Attention of decode over a packed cache on Hopper's matrix units: all query heads of a KV head together, rows brought by bulk copies."""

from __future__ import annotations

import numpy as np

from hfc.backend.shape import Geometry
from hfc.backend.skeletons.attend.geometry import SoftmaxParams, combine, softmax_of
from hfc.backend.skeletons.attend.region import AttendRegion
from hfc.backend.skeletons.attend.splits import split_count, split_scratch, splits_of
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, template
from hfc.base.dataclass import dataclass
from hfc.formats.kv_block import KvBlocks, KvRotated
from hfc.formats.kv_format import KvFormat
from hfc.target.arch import Arch

FEATURE = "wgmma_f16"  # of the generation that has bulk copies, too
# H200, 9B in asym3 at 16k tokens: 17.5 us; two tiles of a warp in LDS 19.4, eight warps 22.1
WARPS, STAGES, BLOCKS_RESIDENT = 4, 1, 3
HEAD_SIZES = (128, 256)
MOST_HEADS = 8  # columns of an MMA
POSITIONS = 16  # of a tile: lines of an MMA
LEVEL_TRIES = 4096  # scales at which levels are rounded to f16, over one octave


@dataclass(frozen=True)
class GroupParams(SoftmaxParams):
    """heads_lane: query heads whose scores a lane holds.  keys, values: types of
    device/kv_operands.h.  scaled_keys: a scale for 32 of their elements.  levels: f16 bits of what codes stand for, times `level_unit`; empty: keys
    are not coded.  warps: of a block.  stages: tiles of a warp in LDS.  resident: blocks of a multiprocessor.  split, splits: as in
    geometry.SplitParams."""

    heads_lane: int
    keys: str
    values: str
    scaled_keys: bool
    levels: tuple[int, ...]
    level_unit: float
    warps: int
    stages: int
    resident: int
    split: int
    splits: int


GROUP = template(
    __file__,
    "attend_group",
    KernelLimits(128, "bound by memory: bulk copies are under way for every warp"),
    GroupParams,
)


def refuses(bound: Bound[AttendRegion], arch: Arch) -> str | None:
    region = bound.region
    if not arch.has(FEATURE):
        return f"{arch.name} has no bulk copies"
    if region.size not in HEAD_SIZES:
        return f"heads of {region.size} elements: lanes share those of {' and '.join(map(str, HEAD_SIZES))}"
    if region.group > MOST_HEADS:
        return f"{region.group} query heads share a KV head, more than {MOST_HEADS}"
    if region.capacity % POSITIONS:
        return f"a context of {region.capacity} is no multiple of {POSITIONS}, so rows are no whole copies"
    if region.plain_f16:
        return "keys and values are f16 as they lie: vectors read them as fast, and their tiles would fill the LDS"
    if key_type(region.k_format, region.size) is None or value_type(region.v_format, region.size) is None:
        return f"keys in {region.k_format.name} and values in {region.v_format.name} have no operands"
    if not region.rounds:
        return "the profile wants keys and values as they are, not rounded to f16"
    return None


def launches(bound: Bound[AttendRegion], arch: Arch) -> tuple[Geometry, ...]:
    region = bound.region
    split, splits = splits_of(region)
    keys, values = key_type(region.k_format, region.size), value_type(region.v_format, region.size)
    assert keys and values, bound.name
    heads_lane = 1 if region.group <= MOST_HEADS // 2 else 2
    levels, unit = rounded_levels(region.k_format) if isinstance(region.k_format, KvRotated) else ((), 1.0)
    params = GroupParams(
        **vars(softmax_of(region)),
        heads_lane=heads_lane,
        keys=keys,
        values=values,
        scaled_keys=isinstance(region.k_format, KvBlocks),
        levels=levels,
        level_unit=unit,
        warps=WARPS,
        stages=STAGES,
        resident=BLOCKS_RESIDENT,
        split=split,
        splits=splits,
    )
    first = Geometry(
        GROUP,
        bound.name + "_group",
        (str(region.kv_heads), split_count(region), bound.rows),
        WARPS * arch.wave,
        params,
        lds_bytes=lds_bytes(region, params),
        promises=("mma_f16",),
        scratch=(split_scratch(region, written=True),),
        task="attend to each split for",
    )
    return first, combine(bound, arch)


def lds_bytes(region: AttendRegion, params: GroupParams) -> int:
    """Of the tiles, or of the warps' sums where they take more."""
    rows = sum(form.row_bytes(region.size) for form in (region.k_format, region.v_format))
    sums = params.warps * region.group * (region.size // 32 * 33) * 4
    return max(params.warps * params.stages * POSITIONS * rows, sums)


def key_type(form: KvFormat | KvBlocks | KvRotated, size: int) -> str | None:
    if isinstance(form, KvRotated):
        return f"hfc_level_keys<{size}, {form.bits}>"
    return f"hfc_q8_keys<{size}>" if _is_q8(form) else None


def value_type(form: KvFormat | KvBlocks | KvRotated, size: int) -> str | None:
    return f"hfc_q8_values<{size}>" if _is_q8(form) else None


def _is_q8(form: KvFormat | KvBlocks | KvRotated) -> bool:
    """Blocks of an f16 scale and 32 signed bytes."""
    fields = [field.dtype for field in form.form.fields] if isinstance(form, KvBlocks) else []
    return isinstance(form, KvBlocks) and form.form.block == 32 and fields == ["f16", "i8"]


def rounded_levels(form: KvRotated) -> tuple[tuple[int, ...], float]:
    """What codes stand for as f16 bits, and by what to multiply them: at the scale at which rounding changes them least (3 bits: 4e-5 at most)."""
    levels = np.array(form.code_levels)
    scales = np.exp2(np.arange(LEVEL_TRIES) / LEVEL_TRIES) / np.abs(levels).max()
    scaled = levels * scales[:, None]
    errors = np.abs(scaled.astype(np.float16) / scaled - 1).max(axis=1)
    best = int(errors.argmin())
    bits = scaled[best].astype(np.float16).view(np.uint16)
    return tuple(map(int, bits)), float(1 / scales[best])

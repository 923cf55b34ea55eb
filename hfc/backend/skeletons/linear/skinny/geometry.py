"""Decode on matrix units (skinny products): 16 outputs x up to 16 rows a wave, every weight read once a step."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.lanes.loaders import CONTIGUOUS
from hfc.backend.lanes.operands import DEPTH, OperandLanes, multiplies_bytes, operand_lanes, operand_sources
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.choices import Candidate, choice_for, formats_of, shape_for
from hfc.backend.skeletons.linear.dot import geometry as dot
from hfc.backend.skeletons.linear.region import LinearRegion
from hfc.backend.skeletons.linear.skinny import ring
from hfc.backend.skeletons.linear.skinny.families import families_of
from hfc.backend.skeletons.linear.skinny.params import (
    ROW,
    ROWS,
    SEVERAL,
    SPAN,
    STAGE,
    THREADS,
    TILE,
    BlockShape,
    RowParams,
    RowsParams,
    SkinnyParams,
    SkinnyStageParams,
)  # fmt: skip
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch, CardSpec

CAPACITY = 32768  # bytes of LDS for the inputs of one row
MOST_MATRICES = 2  # that one block makes
LATE_WORDS = 12  # of a weight row that fit beside the MMAs of the iteration before, in 80 registers


@dataclass(frozen=True)
class Unit:
    """A matrix unit as decode uses it. k_lanes: lanes that share a weight row.  columns: rows of the step in one MMA.  rate: multiply-adds of
    a compute unit a clock.  apart: it issues beside other instructions.  int8: MMAs of bytes, see device/int8_operands.h.
    planes: parts of an input, one where it is rounded to a byte."""

    feature: str
    k_lanes: int
    columns: int
    rate: int
    apart: bool
    int8: bool = False
    planes: int = 2

    @property
    def input_bits(self) -> int:
        """As in Geometry: of whole numbers, or of pairs of f16."""
        return 8 * self.planes if self.int8 else 22

    @property
    def input_bytes(self) -> int:
        return 2 if self.int8 else 4


def unit_of(arch: Arch) -> Unit | None:
    """The rates are those of the vendors' data sheets for f16 with f32 accumulators; of `mma_f16`, what warp-wide MMAs reach."""
    if arch.has("mma_f16"):
        return Unit("mma_f16", 4, 8, 1024, True)
    if arch.has("mfma_f16"):
        return Unit("mfma_f16", 4, 16, 1024 if arch.has("mfma_fp8") else 512, True)
    if arch.has("wmma_f16"):
        return Unit("wmma_f16", 2, 16, 512, False) if arch.has("wmma_split") else Unit("wmma_f16", 1, 16, 256, False)
    return None


# Instructions a weight, counted in the assembly of q4_k: linear_wide for one row; skinny_row without its MMAs.
WIDE, FEW = 4.5, 3.0
BITS = 4.5  # of a weight


@dataclass(frozen=True)
class Budget:
    """Instructions for each weight of one row. need: on matrix units.  free: that go by while the weight comes from memory.
    wide: without matrix units."""

    need: float
    free: float
    wide: float = WIDE

    @property
    def pays(self) -> bool:
        return self.need <= max(self.free, self.wide)


def budget(arch: Arch, unit: Unit, card: CardSpec) -> Budget:
    """One row decides, because all rows of a decode step must add in one order (D10): it must be bound by memory still, or by fewer
    instructions than without matrix units."""
    lanes = arch.tuning.lanes_per_clock
    weights = card.bandwidth_gb_s * 8 / BITS
    free = card.compute_units * card.clock_mhz / 1000 * lanes / weights
    products = 2 * unit.columns / unit.rate * lanes
    others = FEW if unit.k_lanes > 1 else 2 * FEW  # both halves of the wave unpack the same weights
    return Budget(max(products, others) if unit.apart else products + others, free)


def refuses(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    return cannot(bound, arch) or _rounds_less(bound, arch) or _costs(bound, arch)


def _rounds_less(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    """Why integer dot products serve where the profile lets inputs be rounded to bytes, and a matrix unit here takes f16 alone."""
    if not bound.region.byte_inputs or arch.has("mma_i8") or dot.refuses(bound, arch):
        return None
    return "the profile wants inputs of 8 bits, for which integer dot products take half of their instructions for 15"


def cannot(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    """Why matrix units cannot serve the region, whatever it costs."""
    region, unit = bound.region, unit_of(arch)
    if unit is None:
        return f"{arch.name} has no matrix units for f16"
    if region.together > MOST_MATRICES:
        return f"one epilogue joins {region.together} matrices, more than {MOST_MATRICES}"
    if region.k % CONTIGUOUS.elements:
        return f"K of {region.k} is no multiple of {CONTIGUOUS.elements}"
    if operand_lanes(region.weight_formats, unit.k_lanes) is None:
        names = ", ".join(form.name for form in region.weight_formats)
        return f"{names}: no order of K gives every product one scale"
    return None


def _costs(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    """Why something else is faster: predicted, for formats that the table of choices has, else by counted instructions."""
    unit, chosen = unit_of(arch), choice_for(bound.region, arch)
    assert unit, arch.name
    if chosen and chosen.formats != formats_of(bound.region):
        chosen = None
    if chosen and chosen.best.variant == "dot" and dot.refuses(bound, arch) is None:
        return (
            f"integer dot products are predicted to be faster: {chosen.formats} of {chosen.n} x {chosen.k} takes {chosen.best_us} us "
            f"by {chosen.best}, {chosen.second_us} by {chosen.second}"
        )
    for card in () if chosen else arch.cards:
        found = budget(arch, unit, card)
        if not found.pays:
            return (
                f"{card.name}: one row would take {found.need:.1f} instructions a weight on matrix units; {found.free:.1f} go by while "
                f"the weight comes from memory, and wide loads take {found.wide:.1f}"
            )
    return None


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    return launches_of(bound, arch, shape_for(bound.region, arch))


def most_split(region: LinearRegion, arch: Arch) -> int:
    """Waves of a block that can share K."""
    return THREADS // arch.wave // (region.together if region.zipped else 1)


def has_ring(bound: Bound[LinearRegion], arch: Arch, wanted: Candidate) -> bool:
    """Whether one row's weights can come through LDS in blocks of this shape, see ring.py."""
    unit = unit_of(arch)
    assert unit, arch.name
    unit, lanes = _unit_and_lanes(bound, arch, unit)
    return not ring.cannot(bound.region, arch, unit.int8, lanes) and _ring_fits(bound.region, lanes, wanted, arch)


def _ring_fits(region: LinearRegion, lanes: dict[str, OperandLanes], wanted: Candidate, arch: Arch) -> bool:
    sharing = wanted.split * (region.together if region.zipped else 1)
    shape = _shape(wanted, arch)
    return shape.waves % sharing == 0 and ring.fits(region, lanes, shape, arch)


def _shape(wanted: Candidate, arch: Arch) -> BlockShape:
    return BlockShape(wanted.waves or THREADS // arch.wave, wanted.resident, wanted.ahead, wanted.stages)


def launches_of(bound: Bound[LinearRegion], arch: Arch, wanted: Candidate | None = None) -> tuple[Geometry, ...]:
    """The launches of one row, or of several with what stages their inputs. wanted: how waves lie, else as the rules below say."""
    region, unit = bound.region, unit_of(arch)
    assert unit, arch.name
    unit, lanes = _unit_and_lanes(bound, arch, unit)
    most = most_split(region, arch)
    through_lds = not ring.cannot(region, arch, unit.int8, lanes)
    if wanted and wanted.stages and not (through_lds and _ring_fits(region, lanes, wanted, arch)):
        wanted = replace(wanted, split=0)  # a row of a smaller size chose it
    shape: BlockShape | None
    if wanted and 0 < wanted.split <= most:
        split, shape = wanted.split, _shape(wanted, arch)
    else:
        tiles = sum(-(-part.n // TILE) for part in region.parts)
        split = _split(tiles, most, arch)
        shape = ring.shape_of(region, lanes, tiles * split, arch) if through_lds else None
    one = _geometry(bound, arch, unit, lanes, split, 0, shape)
    if region.top:
        return (one,)
    several = [
        _geometry(bound, arch, unit, lanes, split, column_tiles) for column_tiles in range(1, ROWS // unit.columns + 1)
    ]
    return _stage(bound, unit, lanes), *several, one


def _split(tiles: int, most: int, arch: Arch) -> int:
    """Waves that share K: the fewest that fill the largest card's compute units, the last time round as well.

    A block of THREADS more than a whole number of rounds has the card to itself: measured on an H200, 1.45 rounds of gate and up took
    30.8 us, 0.97 rounds 25.9."""
    slots = arch.cards[-1].compute_units * arch.tuning.resident_blocks

    def use(split: int) -> float:
        rounds = tiles * split * arch.wave / THREADS / slots
        return rounds / -(-rounds // 1)

    splits = [split for split in (1, 2, 4, 8) if split <= most]
    return next((split for split in splits if use(split) > 0.9), max(splits, key=use))


def _staging(bound: Bound[LinearRegion], unit: Unit, lanes: dict[str, OperandLanes]) -> SkinnyStageParams:
    region = bound.region
    k, sum_group = region.k, _sum_group(lanes)
    inputs, sums = -(-k // SPAN) * SPAN * ROWS, -(-k // sum_group) * ROWS if sum_group else 0
    run = next(iter(lanes.values())).map.run
    group_floats = ROWS * _staged_floats(region, lanes) if bound.rows == "R" else 0
    return SkinnyStageParams(
        ROWS, unit.columns, SPAN, sum_group, run, inputs, inputs + sums, unit.int8, unit.planes, group_floats
    )


def _staged_floats(region: LinearRegion, lanes: dict[str, OperandLanes]) -> int:
    """Of one row's inputs, with their sums and units."""
    k, sum_group = -(-region.k // SPAN) * SPAN, _sum_group(lanes)
    return k + k // SPAN + (k // sum_group if sum_group else 0)


def _staged(bound: Bound[LinearRegion], lanes: dict[str, OperandLanes], written: bool) -> Scratch:
    outputs, group_bytes = bound.rows == "R", 4 * ROWS * _staged_floats(bound.region, lanes)
    rows = None if outputs else ROWS
    return Scratch("operands", "float", "f32", group_bytes, rows, written, outputs=outputs, together=ROWS)


def _stage(bound: Bound[LinearRegion], unit: Unit, lanes: dict[str, OperandLanes]) -> Geometry:
    return Geometry(
        STAGE,
        bound.name + "_operands",
        (f"({bound.rows} > 1) * {bound.rows}", str(-(-bound.region.k // (8 * THREADS))), "1"),
        THREADS,
        _staging(bound, unit, lanes),
        scratch=(_staged(bound, lanes, written=True),),
        task="stage the inputs of",
    )


def _unit_and_lanes(bound: Bound[LinearRegion], arch: Arch, unit: Unit) -> tuple[Unit, dict[str, OperandLanes]]:
    """The unit for bytes, where the profile lets inputs be rounded and all weights are codes that two successive MMAs share: its iterations
    are long, since they take fewer instructions for a weight (hfq4g256 on an H200: down 17.4 -> 14.5 us, 8 rows of gate and up 33.9 -> 25)."""
    region = bound.region
    if region.single_product and arch.has("mma_i8"):
        long = operand_lanes(region.weight_formats, unit.k_lanes, repeat=True)
        if long and all(map(multiplies_bytes, long.values())):
            return replace(unit, feature="mma_i8", int8=True, planes=1 if region.byte_inputs else 2), long
    lanes = operand_lanes(region.weight_formats, unit.k_lanes)
    assert lanes, bound.name
    return unit, lanes


def _block_shape(arch: Arch, sharing: int, blocks: int, column_tiles: int) -> BlockShape:
    """sharing: waves of the smallest block.  blocks: of THREADS, of the whole region.

    Registers or waves: on an H200, 24 waves that wait for their weights beat 16 that read ahead where there are as many (gate and up
    25.9 us against 30.8); where there are not, those win (down 17.3 against 18.6). Inputs of several rows need registers on their way:
    with 16 rows down takes 29 us without reading ahead, 34 with it."""
    if arch.tuning.resident_blocks < 3:
        return BlockShape(THREADS // arch.wave, 2, True)
    if not column_tiles:
        return BlockShape(8, 3, False) if blocks > 2 * arch.cards[-1].compute_units else BlockShape(8, 2, True)
    return BlockShape(4, 3, True) if sharing <= 4 else BlockShape(8, 2, False)


def _geometry(
    bound: Bound[LinearRegion], arch: Arch, unit: Unit, lanes: dict[str, OperandLanes], split: int, column_tiles: int,
    shape: BlockShape | None = None,
) -> Geometry:  # fmt: skip
    """column_tiles: MMAs that a wave issues for each operand of weights; 0: the kernel of one row.  shape: of its blocks, where chosen."""
    region, span = bound.region, next(iter(lanes.values())).iter_elements * unit.k_lanes
    sharing = split * (len(region.parts) if region.zipped else 1)  # waves of the smallest block
    whole = sum(-(-part.n // TILE) for part in region.parts) * split * arch.wave // THREADS
    shape = shape or _block_shape(arch, sharing, whole, column_tiles)
    families, blocks = families_of(region, lanes, shape.waves // sharing * TILE)
    staging = _staging(bound, unit, lanes)
    shared = SkinnyParams(
        span=SPAN,
        sum_group=staging.sum_group,
        waves=shape.waves,
        split=split,
        waves_n=shape.waves // sharing,
        iter_elements=span,
        k_iters=-(-region.k // span),
        families=families,
        resident=shape.resident,
        ahead=shape.ahead,
        int8=unit.int8,
        planes=unit.planes,
        late=not shape.ahead and not column_tiles and max(of.words * of.pieces for of in lanes.values()) <= LATE_WORDS,
    )
    loaders = operand_sources(lanes, region.k, staging.sum_group, unit.int8 and not column_tiles)
    made = (
        _of_rows(bound, unit, blocks, column_tiles, staging, shared)
        if column_tiles
        else _of_one_row(bound, arch, unit, blocks, staging, shared)
    )
    if shape.stages:
        assert isinstance(made.params, RowParams), made.symbol
        made = ring.through_ring(bound, arch, made.params, lanes, shape.stages)
        loaders += ring.ring_source(lanes, region.k)
    scratch = (_staged(bound, lanes, written=False),) if column_tiles else ()
    return replace(
        made,
        block=shape.waves * arch.wave,
        promises=(unit.feature,),
        loaders=loaders,
        scratch=scratch,
        input_bits=unit.input_bits,
    )


def _of_one_row(
    bound: Bound[LinearRegion], arch: Arch, unit: Unit, blocks: int, staging: SkinnyStageParams, shared: SkinnyParams
) -> Geometry:
    region = bound.region
    most = CAPACITY // unit.input_bytes
    partials = shared.waves * TILE * unit.columns * 4  # bytes, which take the inputs' place
    tile = max(min(most, -(-region.k // SPAN) * SPAN), partials // unit.input_bytes)
    factors = _factors(bound, arch)
    zeros = SPAN // 8 if unit.int8 else 0
    params = RowParams(tile=tile, columns=unit.columns, run=staging.run, factors=factors, zeros=zeros, **vars(shared))
    wanted, count = ("1", f"{bound.rows} * {region.top}") if region.top else (f"({bound.rows} == 1)", "1")
    declared = tile * (unit.input_bytes + (4 // staging.sum_group if staging.sum_group else 0)) + 4 * tile // SPAN
    return Geometry(ROW, bound.name, (f"{wanted} * {blocks}", count, "1"), 0, params, declared=declared)


def _of_rows(
    bound: Bound[LinearRegion],
    unit: Unit,
    blocks: int,
    column_tiles: int,
    staging: SkinnyStageParams,
    shared: SkinnyParams,
) -> Geometry:
    least, most = 2 if column_tiles == 1 else (column_tiles - 1) * unit.columns + 1, column_tiles * unit.columns
    params = RowsParams(
        column_tiles=column_tiles,
        stride=most,
        group_floats=staging.group_floats if most == ROWS else 0,
        staged_sums=staging.staged_sums,
        staged_units=staging.staged_units,
        **vars(shared),
    )
    wanted = f"({bound.rows} >= {least})"
    grid = (f"{wanted} * ({bound.rows} <= {most}) * {blocks}", "1", "1")
    if params.group_floats:
        grid = (f"{wanted} * {blocks}", f"({bound.rows} + {most - 1}) / {most}", "1")
    return Geometry(SEVERAL, f"{bound.name}_rows{most}", grid, 0, params, task=f"up to {most} rows of")


def _factors(bound: Bound[LinearRegion], arch: Arch) -> tuple[str, ...]:
    if not arch.has("early_launch"):
        return ()
    vectors = [(arg.name, arg.value) for arg in bound.args if arg.is_weight and arg.ctype == "float"]
    return tuple(name for name, value in vectors if value and value.type.shape == (bound.region.k,))


def _sum_group(lanes: dict[str, OperandLanes]) -> int:
    """Inputs that are added up once for all blocks' minimums: as many as every format can use; 0 where there are no minimums."""
    groups = [(lane, group) for lane in lanes.values() if lane.has_low for group in range(lane.group_count)]
    return (
        next(size for size in (32, DEPTH) if all(lane.chunks(group, size) for lane, group in groups)) if groups else 0
    )

"""Thread blocks of linear regions in decode on matrix units: 16 outputs x up to 16 rows a wave, every weight read once a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hfc.backend.geometry.parts import groups
from hfc.backend.geometry.shape import Geometry, Scratch, make
from hfc.backend.spec import Bound, Part
from hfc.formats.lanes import LINE
from hfc.formats.operands import DEPTH, OperandLanes, operand_lanes
from hfc.target.arch import Arch, Card

ROWS = 16  # of a block: one operand of a product, two where it has 8 columns
THREADS = 256
SPAN = 256  # elements of a row of inputs that share a unit
CAPACITY = 8192  # inputs of a row in LDS at a time: as pairs of f16 32 KiB
TILE = 16  # outputs of a product
RESIDENT = {"nvidia": 3, "amd": 2}  # blocks that a compute unit holds


@dataclass(frozen=True)
class Unit:
    """A matrix unit as linear_few uses it. share: lanes of a line of weights.  columns: of a product.  rate: multiplications of
    a compute unit and clock.  apart: other instructions run beside it."""

    feature: str
    share: int
    columns: int
    rate: int
    apart: bool


def unit_of(arch: Arch) -> Unit | None:
    """The rates are those of the vendors' data sheets for f16 with f32 sums; of `mma_f16`, what warp-wide products reach."""
    if arch.has("mma_f16"):
        return Unit("mma_f16", 4, 8, 1024, True)
    if arch.has("mfma_f16"):
        return Unit("mfma_f16", 4, 16, 1024 if arch.has("mfma_fp8") else 512, True)
    if arch.has("wmma_f16"):
        return Unit("wmma_f16", 2, 16, 512, False) if arch.has("wmma_split") else Unit("wmma_f16", 1, 16, 256, False)
    return None


# Instructions a weight, counted in the assembly of q4_k: linear_wide for one row; linear_few without its products.
WIDE, FEW = 4.5, 3.0
BITS = 4.5  # of a weight


def few_pays(arch: Arch) -> bool:
    """Whether one row alone is no slower on matrix units: bound by memory still, or by fewer instructions than without them.

    One row decides, because all rows of a decode step must add in one order (D10)."""
    unit = unit_of(arch)
    return unit is not None and all(_pays(arch, unit, card) for card in arch.cards)


def _pays(arch: Arch, unit: Unit, card: Card) -> bool:
    lanes = 128 if arch.kind == "nvidia" else 64  # instructions of one lane that a compute unit does in a clock
    weights = card.bandwidth_gb_s * 8 / BITS
    budget = card.compute_units * card.clock_mhz / 1000 * lanes / weights
    products = 2 * unit.columns / unit.rate * lanes
    others = FEW if unit.share > 1 else 2 * FEW  # both halves of the wave unpack the same weights
    need = max(products, others) if unit.apart else products + others
    return need <= max(budget, WIDE)


def few(bound: Bound, arch: Arch) -> tuple[Geometry, ...]:
    """The launches of one row, or of several with what stages their inputs; () where the arch, the formats or the sizes do not allow it."""
    parts, k, zipped = bound.extra["parts"], bound.extra["k"], bound.extra["zipped"]
    unit, together = unit_of(arch), max(map(len, groups(bound)))
    if not few_pays(arch) or together > 2 or k % LINE.elements:
        return ()
    lanes = operand_lanes([part.format for part in parts], unit.share)
    if lanes is None:
        return ()
    split = _split(sum(-(-part.n // TILE) for part in parts), THREADS // arch.wave // (together if zipped else 1), arch)
    one = _geometry(bound, arch, unit, lanes, split, 0)
    if bound.extra["top"]:
        return (one,)
    several = [_geometry(bound, arch, unit, lanes, split, held) for held in range(1, ROWS // unit.columns + 1)]
    return _stage(bound, arch, unit, lanes), *several, one


def _split(tiles: int, most: int, arch: Arch) -> int:
    """Waves that share K: the fewest that fill the largest card's compute units, the last time round as well.

    A block of THREADS more than a whole number of rounds has the card to itself: measured on an H200, 1.45 rounds of gate and up took
    30.8 us, 0.97 rounds 25.9."""
    slots = arch.cards[-1].compute_units * RESIDENT[arch.kind]

    def use(split: int) -> float:
        rounds = tiles * split * arch.wave / THREADS / slots
        return rounds / -(-rounds // 1)

    splits = [split for split in (1, 2, 4, 8) if split <= most]
    return next((split for split in splits if use(split) > 0.9), max(splits, key=use))


def _numbers(bound: Bound, unit: Unit, lanes: dict[str, OperandLanes]) -> dict[str, Any]:
    """What all launches of a region agree on."""
    k, sum_group = bound.extra["k"], _sum_group(lanes)
    inputs, sums = -(-k // SPAN) * SPAN * ROWS, -(-k // sum_group) * ROWS if sum_group else 0
    return {
        "threads": THREADS,
        "together": ROWS,
        "columns": unit.columns,
        "span": SPAN,
        "sum_group": sum_group,
        "run": next(iter(lanes.values())).map.run,
        "staged_sums": inputs,
        "staged_units": inputs + sums,
    }


def _staged(bound: Bound, lanes: dict[str, OperandLanes], written: bool) -> Scratch:
    k, sum_group = -(-bound.extra["k"] // SPAN) * SPAN, _sum_group(lanes)
    floats = k + k // SPAN + (k // sum_group if sum_group else 0)
    return Scratch("operands", "float", "f32", 4 * ROWS * floats, rows=1, written=written)


def _stage(bound: Bound, arch: Arch, unit: Unit, lanes: dict[str, OperandLanes]) -> Geometry:
    grid = (f"({bound.rows} > 1) * {bound.rows}", str(-(-bound.extra["k"] // (8 * THREADS))), "1")
    made = make(bound, "few_stage", grid, THREADS, _numbers(bound, unit, lanes), suffix="_operands")
    return replace(made, scratch=(_staged(bound, lanes, written=True),), task="stage the inputs of")


@dataclass(frozen=True)
class Cut:
    """waves: of a block.  resident: blocks that a compute unit must hold.  ahead: the next turn's weights are read before this one's work."""

    waves: int
    resident: int
    ahead: bool


def _cut(arch: Arch, sharing: int, blocks: int, held: int) -> Cut:
    """sharing: waves of the smallest block.  blocks: of THREADS, of the whole region.

    Registers or waves: on an H200, 24 waves that wait for their weights beat 16 that read ahead where there are as many (gate and up
    25.9 us against 30.8); where there are not, those win (down 17.3 against 18.6). Inputs of several rows need registers on their way:
    with 16 rows down takes 29 us without reading ahead, 34 with it."""
    if arch.kind != "nvidia":
        return Cut(THREADS // arch.wave, 2, True)
    if not held:
        return Cut(8, 3, False) if blocks > 2 * arch.cards[-1].compute_units else Cut(8, 2, True)
    return Cut(4, 3, True) if sharing <= 4 else Cut(8, 2, False)


def _geometry(bound: Bound, arch: Arch, unit: Unit, lanes: dict[str, OperandLanes], split: int, held: int) -> Geometry:
    """held: products of columns that a wave makes at a time; 0: the kernel of one row."""
    extra, k, turn = bound.extra, bound.extra["k"], next(iter(lanes.values())).turn * unit.share
    sharing = split * (len(extra["parts"]) if extra["zipped"] else 1)  # waves of the smallest block
    cut = _cut(arch, sharing, sum(-(-part.n // TILE) for part in extra["parts"]) * split * arch.wave // THREADS, held)
    teams = cut.waves // sharing
    families, blocks = _families(bound, lanes, teams * TILE)
    least, most = (2 if held == 1 else (held - 1) * unit.columns + 1, held * unit.columns) if held else (1, 1)
    numbers = _numbers(bound, unit, lanes) | {
        "uses": [unit.feature],
        "waves": cut.waves,
        "split": split,
        "teams": teams,
        "own_sums": unit.columns * TILE // arch.wave // (2 if unit.columns == 8 else 1),
        "turn_elements": turn,
        "turns": -(-k // turn),
        "families": families,
        "resident": cut.resident,
        "ahead": cut.ahead,
        "held": held,
        "least": least,
        "most": most,
        "stride": max(1, most),
        "tile": max(min(CAPACITY, -(-k // SPAN) * SPAN), cut.waves * TILE * unit.columns),
    }
    count = f"{bound.rows} * {extra['top']}" if extra["top"] else "1"
    wanted = (
        "1"
        if extra["top"]
        else f"({bound.rows} == 1)"
        if not held
        else f"({bound.rows} >= {least}) * ({bound.rows} <= {most})"
    )
    name, suffix = ("linear_few", f"_rows{most}") if held else ("linear_one", "")
    made = make(bound, name, (f"{wanted} * {blocks}", count, "1"), cut.waves * arch.wave, numbers, suffix=suffix)
    loaders = dict.fromkeys(lane.loader.source for lane in lanes.values() if lane.loader)
    scratch = (_staged(bound, lanes, written=False),) if held else ()
    return replace(made, loaders="\n".join(loaders), scratch=scratch, task=f"up to {most} rows of" if held else "")


def _sum_group(lanes: dict[str, OperandLanes]) -> int:
    """Inputs that are added up once for all blocks' minimums: as many as every format can use; 0 where there are no minimums."""
    groups = [(lane, group) for lane in lanes.values() if lane.has_low for group in range(lane.group_count)]
    return (
        next(size for size in (32, DEPTH) if all(lane.chunks(group, size) for lane, group in groups)) if groups else 0
    )


def _families(bound: Bound, lanes: dict[str, OperandLanes], outputs: int) -> tuple[list[dict[str, Any]], int]:
    """Parts that share code, zipped or of one format, with their blocks; and the number of blocks. outputs: of a part in a block."""
    zipped = bound.extra["zipped"]
    found: dict[str, list[Part]] = {}
    for part in bound.extra["parts"]:
        found.setdefault("" if zipped else part.format.name, []).append(part)
    families, at = [], 0
    for parts in found.values():
        counts = [-(-part.n // outputs) for part in (parts[:1] if zipped else parts)]
        by_format: dict[str, list[int]] = {}
        for number, part in enumerate(parts):
            by_format.setdefault(part.format.name, []).append(number)
        families.append({
            "parts": parts,
            "start": at,
            "stop": at + sum(counts),
            "firsts": [sum(counts[:i]) for i in range(len(counts))],
            "bunches": [{"lanes": lanes[name], "parts": of} for name, of in by_format.items()],
        })  # fmt: skip
        at += sum(counts)
    return families, at

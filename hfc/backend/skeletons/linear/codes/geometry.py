"""Prompts by integer products: tiles of codes times inputs of bytes. A first launch stages the inputs as whole numbers."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.backend.lanes.loaders import LaneLoader, present, walk_loader
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.dot.geometry import BYTE, ONE_BYTE
from hfc.backend.skeletons.linear.experts import different_inputs, pairs, row_tiles, sort
from hfc.backend.skeletons.linear.groups import group_blocks, refuses_words
from hfc.backend.skeletons.linear.mma.geometry import LARGE, MATRIX_FEATURES, MOST_MATRICES, by_rows, distinct
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import READS_AND_WRITES, Allowance, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.target.arch import Arch

THREADS = 256
DEPTH = 32  # elements of K of a tile: one scale of inputs
HALF = 16  # of a weight row, that a thread unpacks
OUTPUTS, ROWS = 128, 64  # of a tile; each of 16 x 16 threads makes every 16th, and fetches 8 inputs and 16 weights
SIGNED = range(-128, 128)
# Words that a thread fetches of weight rows, where registers are scarce: with more, two waves do not fit a SIMD; MOST_AHEAD: beside the
# codes of the output that is multiplied next.
MOST_WORDS, MOST_AHEAD = 14, 8


@dataclass(frozen=True)
class CodeStageParams(Params):
    """chunk: inputs that are added up.  staged_stride: floats of a staged row.  planes: of an input.  shared_by: rows that have one input.
    waves: of a block."""

    chunk: int
    staged_stride: int
    planes: int
    shared_by: int
    waves: int


@dataclass(frozen=True)
class CodeLanes:
    """How a thread reads one format. zero: added to its codes, in signed bytes.  minimum: zero point of those that lie as they are, of a
    format with minimums."""

    loader: LaneLoader
    zero: int
    minimum: int


@dataclass(frozen=True)
class CodeGroup:
    """Matrices of one block. distinct: the first of each format, if that is one for all; else all.  start: first block.  scales: of a weight row in
    DEPTH elements.  has_low: minimums multiply sums of inputs.  ahead: an output's codes are read while those before are multiplied."""

    parts: tuple[Matrix, ...]
    distinct: tuple[Matrix, ...]
    start: int
    scales: int
    has_low: bool
    ahead: bool


@dataclass(frozen=True)
class CodeParams(Params):
    """tile_rows, tile_outputs: of a block; depth: elements of K between barriers.  shared_by, staged_stride, chunk: as in CodeStageParams.
    parts_together: matrices of the largest group.  resident: blocks of a compute unit.  units: matrix units multiply.  lanes_of: by format."""

    tile_rows: int
    tile_outputs: int
    depth: int
    shared_by: int
    staged_stride: int
    chunk: int
    parts_together: int
    resident: int
    units: bool
    lanes_of: Mapping[str, CodeLanes]
    groups: tuple[CodeGroup, ...]


STAGE = template(__file__, "code_stage", READS_AND_WRITES, CodeStageParams)
CODES = template(
    __file__,
    "linear_codes",
    KernelLimits(
        128,
        "bound by arithmetic: a thread's 32 sums are independent, and a block's loads fly while it multiplies",
        narrowest=1,
        allowances=(
            Allowance(
                "lanes",
                64,
                "127 of 128 registers are used where formats of several kinds stand side by side, and an epilogue's reads may need more",
                arch=lambda arch: arch.scarce_registers,
            ),
        ),
    ),
    CodeParams,
)


def by_units(arch: Arch) -> bool:
    """Whether matrix units multiply: where they take bytes at twice the rate of f16, which scaling the sums leaves a part of."""
    return arch.has("wmma_i8") and arch.has("wmma_split")


def refuses(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    region = bound.region
    if not region.byte_inputs:
        return "the profile wants inputs of more than 8 bits"
    if not arch.has("dot4_i8"):
        return f"{arch.name} has no integer dot product of four signed bytes"
    if any(map(arch.has, MATRIX_FEATURES)) and not by_units(arch):
        return f"{arch.name} has matrix units: products of f16 take no longer there than those of bytes with the scaling of their sums"
    plain = [form.name for form in region.weight_formats if not form.quantized]
    if plain:
        return f"{plain[0]} weights are no whole numbers"
    if region.together > MOST_MATRICES:
        return f"one epilogue joins {region.together} matrices, more than {MOST_MATRICES}"
    narrow = [form for form in region.weight_formats if form.group % HALF]
    if narrow:
        return f"{narrow[0].name} has a scale for {narrow[0].group} weights, fewer than a thread unpacks"
    crowded = (_crowds(group, arch) for group in region.groups if arch.scarce_registers)
    return refuses_words(region) or next(filter(None, crowded), None)


def _crowds(group: tuple[Matrix, ...], arch: Arch) -> str | None:
    names = " and ".join(dict.fromkeys(part.format.name for part in group))
    if _scales(group) > 1 and _has_low(group):
        return f"{names}: two scales and two minimums for {DEPTH} weights leave a SIMD of {arch.name} one wave"
    words = _words(group)
    if words > MOST_WORDS:
        return f"{names}: {words} words of weights on their way leave a SIMD of {arch.name} one wave"
    return None


def _words(group: tuple[Matrix, ...]) -> int:
    """That a thread fetches of weight rows for a tile."""
    return sum(present(walk_loader(part.format)).words for part in distinct(group))


def _scales(group: tuple[Matrix, ...]) -> int:
    """Of a weight row in DEPTH elements: all formats of a group have as many."""
    return 2 if any(part.format.group % DEPTH for part in group) else 1


def _has_low(group: tuple[Matrix, ...]) -> bool:
    return any(part.format.min for part in group)


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    """Matrix units make large tiles, or small ones of few rows: both add along K in one order, so the number of rows may choose."""
    before = *sort(bound, arch, ROWS), _stage(bound, arch)
    small = _tiles(bound, arch, ROWS)
    if not by_units(arch) or bound.region.top:
        return *before, small
    return *before, *by_rows(bound, arch, _tiles(bound, arch, LARGE), small)


def _chunk(region: LinearRegion) -> int:
    return DEPTH // max(_scales(group) for group in region.groups)


def _stride(region: LinearRegion) -> int:
    """Bytes of a row, then a unit and a sum for each chunk, in floats."""
    return region.k // 4 + -(-2 * region.k // _chunk(region) // 4) * 4


def _staged(region: LinearRegion, written: bool) -> Scratch:
    return Scratch("bytes", "float", "f32", 4 * _stride(region) * region.input_rows, written=written)


def _stage(bound: Bound[LinearRegion], arch: Arch) -> Geometry:
    region = bound.region
    return Geometry(
        STAGE,
        bound.name + "_bytes",
        (different_inputs(bound), "1", "1"),
        THREADS,
        CodeStageParams(_chunk(region), _stride(region), ONE_BYTE, region.input_shared_by, THREADS // arch.wave),
        scratch=(_staged(region, written=True),),
        task="make bytes of the inputs of",
    )


def _lanes(form: BlockFormat) -> CodeLanes:
    """Without minimums a zero point goes into the bytes; with them codes stay unsigned where signed bytes hold them."""
    loader = present(walk_loader(form))
    if form.table:
        return CodeLanes(loader, 0, 0)  # looked up as signed bytes
    if loader.has_low:
        zero = -128 if loader.bits == BYTE else 0
        return CodeLanes(loader, zero, loader.zero - zero)
    assert loader.zero in SIGNED and loader.zero + 2**loader.bits - 1 in SIGNED, form.name
    return CodeLanes(loader, loader.zero, 0)


def _group(group: tuple[Matrix, ...], start: int, is_alone: bool, arch: Arch) -> CodeGroup:
    """is_alone: the region has no other group; where registers are scarce, code for several needs some more."""
    scales, room = _scales(group), MOST_AHEAD if is_alone else MOST_AHEAD // 2
    has_room = scales == 1 and _words(group) <= room and len(distinct(group)) == 1
    return CodeGroup(group, distinct(group), start, scales, _has_low(group), has_room or not arch.scarce_registers)


def _tiles(bound: Bound[LinearRegion], arch: Arch, tile_rows: int) -> Geometry:
    region = bound.region
    lanes = {form.name: _lanes(form) for form in region.weight_formats}
    starts, blocks = group_blocks(region, OUTPUTS // region.together)
    params = CodeParams(
        tile_rows=tile_rows,
        tile_outputs=OUTPUTS,
        depth=DEPTH,
        shared_by=region.input_shared_by,
        staged_stride=_stride(region),
        chunk=_chunk(region),
        parts_together=region.together,
        resident=2,
        units=by_units(arch),
        lanes_of=lanes,
        groups=tuple(_group(group, start, len(starts) == 1, arch) for group, start in zip(region.groups, starts)),
    )
    return Geometry(
        CODES,
        bound.name + "_codes",
        (row_tiles(bound, tile_rows), str(blocks), "1"),
        THREADS,
        params,
        promises=("wmma_i8",) if by_units(arch) else ("dot4_i8",),
        loaders="\n".join(of.loader.source for of in lanes.values()),
        scratch=(_staged(region, written=False), *pairs(bound, written=False)),
        input_bits=BYTE,
    )

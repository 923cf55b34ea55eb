"""Decode by integer dot products: for quantized weights where matrix units do not pay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hfc.backend.lanes.loaders import CONTIGUOUS, RUN, LaneLoader, lane_loader, present
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.linear.choices import Candidate, choice_for, formats_of
from hfc.backend.skeletons.linear.groups import group_blocks, refuses_words
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.skeletons.linear.wide.geometry import split_k, takes_k_at_once
from hfc.backend.spec import Bound
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256
INPUTS_FIRST = 5120  # K of kernels that may read all inputs before weights; more take registers that waves need
ROWS = 16  # of a decode step
SHARED = 48 * 1024  # bytes of inputs in LDS, at most
UNIT = 32  # inputs that share a unit
OUTPUTS = 2  # of a wave: every format has registers for two
BYTE = 8  # bits; codes of 8 bits are numbers from -128 on
TWO_BYTES, ONE_BYTE = 2, 1  # planes of an input: 15 bits in two signed bytes, or 8 bits in one


@dataclass(frozen=True)
class ScaleGroup:
    """Runs of a lane's call whose weights have one scale and whose inputs have one unit."""

    group: int
    runs: tuple[int, ...]


@dataclass(frozen=True)
class DotLanes:
    """How lanes read one format, and what turns integer dot products of its codes into those of its weights.

    zero: zero point of a signed byte.  shifted: a zero point or minimum multiplies the sum of the inputs."""

    loader: LaneLoader
    segments: tuple[ScaleGroup, ...]
    zero: int
    shifted: bool


@dataclass(frozen=True)
class InputsAhead:
    """What a thread reads before it asks for weights.

    reads: C expressions of element j.  load, elements (of each statistic): the region's, of seen<n>[run][i] instead."""

    reads: tuple[str, ...]
    load: str
    elements: tuple[str, ...]


@dataclass(frozen=True)
class DotStageParams(Params):
    """chunk: inputs that are added up.  staged_stride: floats of a staged row.  planes: of an input, of a byte each."""

    chunk: int
    staged_stride: int
    planes: int


@dataclass(frozen=True)
class DotParams(Params):
    """waves: of a block, of which `split` share K (split-K).  outputs: of a wave.  tile: inputs in LDS at a time, `pad` of them between
    paddings.  together: rows of a block.  unrolls: numbers of rows that have a loop of their own.  staged: inputs come as whole numbers.
    count: matrices of the largest group.  resident: blocks of a compute unit.  ahead: where the tile is all of K.  lanes_of: by format.
    starts: first block of each group.  chunk, staged_stride, planes: as in DotStageParams."""

    chunk: int
    staged_stride: int
    planes: int
    waves: int
    outputs: int
    split: int
    tile: int
    together: int
    unrolls: tuple[int, ...]
    staged: bool
    count: int
    resident: int
    pad: int
    ahead: InputsAhead | None
    lanes_of: Mapping[str, DotLanes]
    starts: tuple[int, ...]
    groups: tuple[tuple[Matrix, ...], ...]


STAGE = template(__file__, "dot_stage", READS_AND_WRITES, DotStageParams)
DOT = template(
    __file__,
    "linear_dot",
    KernelLimits(
        128,
        "bound by memory: every lane fetches whole words of 32 weights and several outputs ahead",
        narrowest=1,
        tunables=("outputs", "together"),
    ),
    DotParams,
)


def refuses(bound: Bound[LinearRegion], arch: Arch) -> str | None:
    if not (arch.has("sdot4") or arch.has("sudot4")):
        return f"{arch.name} has neither sdot4 nor sudot4, the dot products of four signed bytes that these kernels are written in"
    plain = [form.name for form in bound.region.weight_formats if not form.quantized]
    return f"{plain[0]} weights are no whole numbers" if plain else refuses_words(bound.region)


def launches(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry, ...]:
    return launches_of(bound, arch, _candidate(bound.region, arch))


def launches_of(bound: Bound[LinearRegion], arch: Arch, chosen: Candidate) -> tuple[Geometry, ...]:
    """The launches of one row, and of several with what makes their inputs whole numbers; all split K alike."""
    one = _geometry(bound, arch, chosen, 1, chosen.numbers)
    if bound.region.top:
        return (one,)
    return _stage(bound, chosen), _geometry(bound, arch, chosen, ROWS, True), one


def _candidate(region: LinearRegion, arch: Arch) -> Candidate:
    """By the table of choices; where registers are few, blocks are small, and each would make the numbers again."""
    found = choice_for(region, arch)
    if found is None or found.best.variant != "dot":
        numbers = arch.scarce_registers and not region.top
        return Candidate("dot", numbers, split_k(region, arch), OUTPUTS, inputs_first=reads_first(region, arch))
    if found.formats == formats_of(region) and found.k <= most_first(arch):
        return found.best
    outputs = found.best.outputs if found.formats == formats_of(region) else min(found.best.outputs, OUTPUTS)
    return replace(found.best, outputs=outputs, inputs_first=reads_first(region, arch))


def dot_lanes(region: LinearRegion) -> dict[str, DotLanes]:
    made = {}
    for form in region.weight_formats:
        loader = present(lane_loader(form))
        keys = [(group, offset // UNIT) for group, offset in zip(loader.groups, loader.map.offsets)]
        groups = tuple(
            ScaleGroup(key[0], tuple(run for run, k in enumerate(keys) if k == key)) for key in dict.fromkeys(keys)
        )
        zero = loader.zero + 128 if loader.bits == BYTE else loader.zero
        made[form.name] = DotLanes(loader, groups, zero, loader.has_low or zero != 0)
    return made


def _staging(region: LinearRegion) -> DotStageParams:
    """What all launches of a region agree on."""
    chunk = min(RUN * len(group.runs) for lanes in dot_lanes(region).values() for group in lanes.segments)
    planes = planes_of(region)
    return DotStageParams(chunk, planes * region.k // 4 + -(-2 * region.k // chunk // 4) * 4, planes)


def input_bits(region: LinearRegion) -> int:
    """As in Geometry."""
    return BYTE if region.byte_inputs else 15


def planes_of(region: LinearRegion) -> int:
    return ONE_BYTE if region.byte_inputs else TWO_BYTES


def _staged(bound: Bound[LinearRegion], written: bool) -> Scratch:
    outputs = bound.rows == "R"
    row_bytes = 4 * _staging(bound.region).staged_stride
    return Scratch("operands", "float", "f32", row_bytes, None if outputs else ROWS, written, outputs=outputs)


def most_first(arch: Arch) -> int:
    return RUN * THREADS if arch.scarce_registers else INPUTS_FIRST


def reads_first(region: LinearRegion, arch: Arch) -> bool:
    """Can its kernel of one row ask for all inputs before weights? Not if they are too many, or a statistic is of something else."""
    return region.k <= most_first(arch) and region.reads_its_row


def _ahead(region: LinearRegion) -> InputsAhead:
    return InputsAhead(region.reads, *region.of_registers("seen"))


def _stage(bound: Bound[LinearRegion], chosen: Candidate) -> Geometry:
    return Geometry(
        STAGE,
        bound.name + "_numbers",
        (
            bound.rows if chosen.numbers else f"({bound.rows} > 1) * {bound.rows}",
            str(-(-bound.region.k // (RUN * THREADS))),
            "1",
        ),
        THREADS,
        _staging(bound.region),
        scratch=(_staged(bound, written=True),),
        task="make whole numbers of the inputs of",
    )


def _geometry(bound: Bound[LinearRegion], arch: Arch, chosen: Candidate, most_rows: int, staged: bool) -> Geometry:
    """The kernel of one row, or of more; of inputs that are staged as whole numbers, or that every block makes."""
    region, lanes, staging = bound.region, dot_lanes(bound.region), _staging(bound.region)
    count, waves = region.together, THREADS // arch.wave
    outputs, split = max(1, (chosen.outputs if most_rows == 1 else OUTPUTS) // count), chosen.split
    split = 1 if takes_k_at_once(region, arch) else split
    tile = max(arch.wave * split * CONTIGUOUS.elements, THREADS * RUN)  # every thread makes numbers of a run
    first = chosen.inputs_first and most_rows == 1 and not staged and reads_first(region, arch)
    ahead = _ahead(region) if first else None
    if ahead:
        tile = -(-region.k // (THREADS * RUN)) * THREADS * RUN
    row_bytes = staging.planes * (tile + tile // RUN // 2) + tile * 8 // staging.chunk
    # with 4 and 8, formats of six bits spill, or a SIMD of gfx906 holds one wave
    most_rows = min(most_rows, 2 if arch.scarce_registers else 4)
    together = min(1 << (SHARED // row_bytes).bit_length() - 1, most_rows)
    largest = max(region.parts, key=lambda p: p.n)
    starts, blocks = group_blocks(region, waves // split * outputs)
    params = DotParams(
        chunk=staging.chunk,
        staged_stride=staging.staged_stride,
        planes=staging.planes,
        waves=waves,
        outputs=outputs,
        split=split,
        tile=tile,
        together=together,
        unrolls=tuple(unroll for unroll in (1, 2, 4) if unroll <= together and (unroll > 1 or together == 1)),
        staged=staged,
        count=count,
        resident=2,
        pad=lanes[largest.format.name].loader.map.span,
        ahead=ahead,
        lanes_of=lanes,
        starts=starts,
        groups=region.groups,
    )
    rows = f"{bound.rows} * {region.top}" if region.top else f"({bound.rows} + {together - 1}) / {together}"
    wanted = f"{blocks}" if region.top else f"({bound.rows} {'>' if together > 1 else '=='} 1) * {blocks}"
    return Geometry(
        DOT,
        bound.name + ("_rows" if together > 1 else ""),
        (wanted, rows, "1"),
        THREADS,
        params,
        promises=("dot4_i8",),
        loaders="\n".join(made.loader.source for made in lanes.values()),
        scratch=(_staged(bound, written=False),) if staged else (),
        task="several rows of" if together > 1 else "",
        declared=_lds_bytes(params),
        input_bits=input_bits(region),
    )


def _lds_bytes(params: DotParams) -> int:
    """Of a block: inputs, their units and sums, and what waves that share K hand on."""
    row = 8 * params.planes * (params.tile // 8 + params.tile // params.pad) + 8 * (params.tile // params.chunk)
    return params.together * (row + 4 * params.waves * params.count * params.outputs)

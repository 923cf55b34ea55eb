"""The launches of a mixture of experts for few rows: choose and stage, first products, second products and their sum."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from hfc.backend.lanes.loaders import CONTIGUOUS, RUN
from hfc.backend.members import launches_of_members
from hfc.backend.shape import Geometry, Scratch
from hfc.backend.skeletons.beside.geometry import one_launch, side_by_side
from hfc.backend.skeletons.linear.dot.geometry import ROWS, DotLanes, dot_lanes, input_bits, planes_of
from hfc.backend.skeletons.linear.groups import refuses_words
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.skeletons.mixture.region import MixtureRegion
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.spec import Arg, Bound, Stat
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch

THREADS = 256
MOST_MATRICES = 2  # that one epilogue joins
MOST_SHARES = 4  # waves of a block that share the choices of a row
LEAST_USE = 0.8  # of those waves
UP_THREADS = 64  # its waves share nothing: small blocks divide evenly among compute units
CAPACITY = 24576  # bytes of LDS for the inputs of second products; more are staged by a launch of their own


@dataclass(frozen=True)
class StagedInputs:
    """Rows of inputs as whole numbers, in scratch memory or LDS. k: inputs of a row.  rows: for each row of the step.  stride: floats of a row.

    load, rotate: as in LinearRegion.  first: the first thread block that stages them."""

    name: str
    k: int
    rows: int
    stride: int
    load: str
    rotate: int
    first: int = 0

    def scratch(self, written: bool = False) -> Scratch:
        return Scratch(self.name, "float", "f32", 4 * self.stride * self.rows, rows=ROWS, written=written)


def _staged(name: str, product: LinearRegion, chunk: int) -> StagedInputs:
    stride = planes_of(product) * product.k // 4 + -(-2 * product.k // chunk // 4) * 4
    return StagedInputs(name, product.k, product.input_rows, stride, product.load, product.rotate)


def _chunk(products: Iterable[LinearRegion]) -> int:
    """Inputs that are added up once for all."""
    lanes = [made for product in products for made in dot_lanes(product).values()]
    return min(RUN * len(group.runs) for made in lanes for group in made.segments)


@dataclass(frozen=True)
class PrepareParams(Params):
    """inputs: what is staged, of chunks of `chunk`, in `planes` of bytes.  stats: reductions that its load names."""

    chunk: int
    planes: int
    inputs: StagedInputs
    stats: tuple[Stat, ...]


@dataclass(frozen=True)
class Products:
    """Products that share code. lanes: of a weight row; so many iterations take them along K.  experts: as in LinearRegion.  first, stop: waves of a
    row of the step that make them.  inputs: where their inputs are staged.  store: of the first products, as in LinearRegion."""

    parts: tuple[Matrix, ...]
    lanes: int
    k: int
    experts: Arg | None
    top: int
    inputs: StagedInputs
    store: str = ""
    first: int = 0
    stop: int = 0
    groups: int = 0


@dataclass(frozen=True)
class UpParams(Params):
    """outputs: of a wave and a matrix, for each group of its lanes.  planes: of an input.  kinds: chosen, shared.  choices_per_lane, experts_per_lane: as in
    RouteParams."""

    outputs: int
    chunk: int
    planes: int
    waves: int
    choices_per_lane: int
    experts_per_lane: int
    kinds: tuple[Products, ...]
    lanes_of: Mapping[str, DotLanes]


@dataclass(frozen=True)
class StageParams(Params):
    """staged: inputs of the second products, of chunks of `chunk`, in `planes` of bytes."""

    chunk: int
    planes: int
    staged: tuple[StagedInputs, ...]


@dataclass(frozen=True)
class DownParams(Params):
    """units: second products of a row, the choices and then `pieces` of the shared expert.  shares: waves that divide them.
    waves_n: such groups of waves.  of_share: units of a wave, at most.  alike: all units are read by the same code.  staged: their inputs;
    apart: a launch before has staged them.  ahead: the words of a unit, which lanes take in one iteration, are asked for one unit ahead."""

    outputs: int
    chunk: int
    planes: int
    units: int
    pieces: int
    shares: int
    waves_n: int
    of_share: int
    alike: bool
    staged: tuple[StagedInputs, ...]
    apart: bool
    ahead: bool
    kinds: tuple[Products, ...]
    lanes_of: Mapping[str, DotLanes]


PREPARE = template(__file__, "mixture_prepare", READS_AND_WRITES, PrepareParams)
STAGE = template(__file__, "mixture_stage", READS_AND_WRITES, StageParams)
IN_FLIGHT = KernelLimits(
    128, "bound by memory: a lane has whole words of several weight rows on their way", narrowest=1
)
UP = template(__file__, "mixture_up", IN_FLIGHT, UpParams)
DOWN = template(__file__, "mixture_down", IN_FLIGHT, DownParams)


def refuses(bound: Bound[MixtureRegion], arch: Arch) -> str | None:
    region = bound.region
    if not arch.has("dot4_i8"):
        return f"{arch.name} has no integer dot product of four signed bytes"
    if arch.has("mma_f16") and not region.up.single_product:
        return f"{arch.name} multiplies experts by pairs of f16 where inputs may not be rounded to 15 bits"
    for product in (*region.ups, *region.downs):
        if reason := refuses_words(product):
            return reason
        if product.rotate and product.k % product.rotate:
            return f"K of {product.k} is no multiple of {product.rotate}, which are rotated together"
    for up in region.ups:
        if len(up.parts) > MOST_MATRICES or (len(up.parts) > 1 and not up.zipped):
            return f"{len(up.parts)} first products, more than {MOST_MATRICES} that one epilogue joins"
        if (up.k, up.load, up.stats, up.rotate) != (region.up.k, region.up.load, region.up.stats, region.up.rotate):
            return "the shared expert has other inputs than those that are chosen"
    if not region.up.token_inputs or any(down.stats for down in region.downs):
        return "experts have inputs of their own, or a norm before their second product"
    stores = " ".join((region.up.store, *(part.store for part in region.up.parts)))
    if region.choice and re.search(rf"\b{region.choice.weights.name}\[", stores):
        return "what the experts' first products make is multiplied by their shares, which the same launch chooses"
    gate = region.gate
    if gate and (gate.rotate or (gate.load, gate.stats) != (region.up.load, region.up.stats)):
        return "the shared expert's gate has other inputs than the experts"
    return None


def launches(bound: Bound[MixtureRegion], arch: Arch) -> tuple[Geometry, ...]:
    region = bound.region
    chunk = _chunk(region.ups)
    inputs = _staged("mixture_inputs", region.up, chunk)
    later = _chunk(region.downs)
    names = ("mixture_chosen", "mixture_shared")
    middle = _placed([_staged(name, down, later) for name, down in zip(names, region.downs)])
    apart = sum(4 * staged.stride * staged.rows for staged in middle) > CAPACITY
    last = _down(bound, arch, middle, later, apart)
    up = _up(bound, arch, inputs, chunk)
    return (*_first(bound, arch, inputs, chunk), up, *([_stage(bound, middle, later)] if apart else []), last)


def _first(bound: Bound[MixtureRegion], arch: Arch, inputs: StagedInputs, chunk: int) -> Iterator[Geometry]:
    """The router, and beside it what needs no choice."""
    router, prepare = bound.region.router, (_prepare(bound, inputs, chunk),)
    series = [launches_of_members(bound, arch, "decode")[router], prepare] if router is not None else [prepare]
    for shared in side_by_side(bound, series, arch):
        task = "make the router's logits and stage the inputs of"
        yield one_launch(shared, f"{bound.name}_route", task) if len(shared) > 1 else shared[0]


def _placed(staged: list[StagedInputs]) -> tuple[StagedInputs, ...]:
    """One after the other in a grid of blocks of THREADS, which stage RUN inputs a thread."""
    made, first = [], 0
    for inputs in staged:
        made.append(replace(inputs, first=first))
        first += -(-inputs.k * inputs.rows // (RUN * THREADS))
    return tuple(made)


def _prepare(bound: Bound[MixtureRegion], inputs: StagedInputs, chunk: int) -> Geometry:
    return Geometry(
        PREPARE,
        bound.name + "_prepare",
        ("1", bound.rows, "1"),
        THREADS,
        PrepareParams(chunk, planes_of(bound.region.up), inputs, bound.region.up.stats),
        scratch=(inputs.scratch(written=True),),
        task="stage the inputs of",
        counts=bound.region.doing("prepare"),
    )


def _outputs(arch: Arch) -> int:
    """Of a wave, of each of its matrices. With 4, formats of five bits with minimums leave a SIMD of gfx906 one wave."""
    return 2 if arch.scarce_registers else 4


def _lanes_of_row(products: Sequence[LinearRegion], arch: Arch, sums: int) -> int:
    """Lanes that share a weight row: as many as have work in almost every iteration, a whole number of blocks and a sum each."""
    calls = max(made.loader.calls for product in products for made in dot_lanes(product).values())
    k_iters = min(product.k for product in products) // CONTIGUOUS.elements
    fits = [n for n in (8, 16, 32, 64) if n <= arch.wave and n >= sums and n % calls == 0] or [arch.wave]

    def use(lanes: int) -> float:
        return round(k_iters / (lanes * -(-k_iters // lanes)), 1)

    return max(fits, key=lambda lanes: (use(lanes), lanes))


def _up(bound: Bound[MixtureRegion], arch: Arch, inputs: StagedInputs, chunk: int) -> Geometry:
    region, kinds, at, outputs = bound.region, [], 0, _outputs(arch)
    count, waves = max(len(up.parts) for up in region.ups), UP_THREADS // arch.wave
    lanes_of: dict[str, DotLanes] = {}
    for up in region.ups:
        lanes = _lanes_of_row([up], arch, outputs * count)
        groups = -(-up.parts[0].n // (outputs * arch.wave // lanes))
        stop = at + groups * max(1, up.top)
        store = up.store if up.zipped else up.parts[0].store
        kinds.append(Products(up.parts, lanes, up.k, up.experts, up.top, inputs, store, at, stop, groups))
        lanes_of |= dot_lanes(up)
        at = stop
    return Geometry(
        UP,
        bound.name + "_up",
        (str(-(-at // waves)), bound.rows, "1"),
        UP_THREADS,
        UpParams(outputs, chunk, planes_of(region.up), waves, *_per_lane(region.choice, arch), tuple(kinds), lanes_of),
        promises=("dot4_i8",),
        loaders=_sources(lanes_of),
        scratch=(inputs.scratch(),),
        task="choose experts and make the first products of" if region.choice else "make the first products of",
        counts=region.doing("up"),
        input_bits=input_bits(region.up),
    )


def _per_lane(choice: RouteRegion | None, arch: Arch) -> tuple[int, int]:
    """Choices and experts."""
    return (-(-choice.top // arch.wave), -(-choice.experts // arch.wave)) if choice else (0, 0)


def _stage(bound: Bound[MixtureRegion], staged: tuple[StagedInputs, ...], chunk: int) -> Geometry:
    last = staged[-1]
    blocks = last.first - (-last.k * last.rows // (RUN * THREADS))
    return Geometry(
        STAGE,
        bound.name + "_stage",
        (str(blocks), bound.rows, "1"),
        THREADS,
        StageParams(chunk, planes_of(bound.region.down), staged),
        scratch=tuple(inputs.scratch(written=True) for inputs in staged),
        task="stage the inputs of the second products of",
    )


def _down(
    bound: Bound[MixtureRegion], arch: Arch, staged: tuple[StagedInputs, ...], chunk: int, apart: bool
) -> Geometry:
    region, down, outputs = bound.region, bound.region.down, _outputs(arch)
    lanes_of = {name: lanes for product in region.downs for name, lanes in dot_lanes(product).items()}
    alike = len(lanes_of) == 1 and all(product.k % down.k == 0 for product in region.downs)
    pieces = 0 if not region.shared_down else region.shared_down.k // down.k if alike else 1
    units = down.top + pieces
    shares = max(n for n in range(1, MOST_SHARES + 1) if units >= LEAST_USE * n * -(-units // n))
    waves_n = max(1, THREADS // arch.wave // shares)
    lanes = _lanes_of_row(region.downs, arch, outputs)
    kinds = tuple(
        Products(product.parts, lanes, product.k, product.experts, product.top, inputs)
        for product, inputs in zip(region.downs, staged)
    )
    ahead = alike and down.k // CONTIGUOUS.elements <= lanes
    made = outputs * waves_n * arch.wave // lanes
    return Geometry(
        DOWN,
        bound.name + "_down",
        (str(-(-down.parts[0].n // made)), bound.rows, "1"),
        waves_n * shares * arch.wave,
        DownParams(
            outputs,
            chunk,
            planes_of(down),
            units,
            pieces,
            shares,
            waves_n,
            -(-units // shares),
            alike,
            staged,
            apart,
            ahead,
            kinds,
            lanes_of,
        ),
        promises=("dot4_i8",),
        loaders=_sources(lanes_of),
        scratch=tuple(inputs.scratch() for inputs in staged) if apart else (),
        counts=region.doing("down"),
        input_bits=input_bits(down),
    )


def _sources(lanes_of: dict[str, DotLanes]) -> str:
    return "\n".join(made.loader.source for made in lanes_of.values())

"""What the templates of skinny products are told: the parameters of each, and the shape of its thread blocks."""

from __future__ import annotations

from hfc.backend.skeletons.linear.skinny.families import MatrixFamily
from hfc.backend.template import READS_AND_WRITES, KernelLimits, Params, template
from hfc.base.dataclass import dataclass

ROWS = 16  # of a block: one operand of an MMA, two where it has 8 columns
THREADS = 256
SPAN = 256  # elements of a row of inputs that share a unit
TILE = 16  # outputs (M) of an MMA


@dataclass(frozen=True)
class SkinnyStageParams(Params):
    """What all launches of a region agree on. together: rows that staged inputs have room for.  columns: of an MMA.  span: inputs
    that share a unit.  sum_group: inputs whose sums the minimums multiply; 0: there are none.  run: neighbouring elements that a lane takes.
    staged_sums, staged_units: where sums and units lie after the staged inputs, in floats.  int8, planes: as of Unit.
    group_floats: staged inputs of `together` rows, where a step may have more of them; else 0."""

    together: int
    columns: int
    span: int
    sum_group: int
    run: int
    staged_sums: int
    staged_units: int
    int8: bool
    planes: int
    group_floats: int
    threads: int = THREADS


STAGE = template(__file__, "skinny_stage", READS_AND_WRITES, SkinnyStageParams)


@dataclass(frozen=True)
class BlockShape:
    """waves: of a block.  resident: blocks that a compute unit must hold.  ahead: weights are prefetched, one iteration of
    the K loop ahead.  stages: iterations of a wave whose weights have room in LDS, see ring.py; 0: they go to registers."""

    waves: int
    resident: int
    ahead: bool
    stages: int = 0


@dataclass(frozen=True)
class SkinnyParams(Params):
    """waves: of a block; `split` of them share the K of 16 outputs (split-K), `waves_n` such groups make different
    outputs.  iter_elements: of K in one iteration of the K loop, `k_iters`: its iterations.
    resident: blocks of a compute unit.  ahead: weights are prefetched, one iteration ahead; late: as soon as their registers are free.  span, sum_group,
    int8, planes: as in SkinnyStageParams."""

    span: int
    sum_group: int
    waves: int
    split: int
    waves_n: int
    iter_elements: int
    k_iters: int
    families: tuple[MatrixFamily, ...]
    resident: int
    ahead: bool
    late: bool
    int8: bool
    planes: int


@dataclass(frozen=True)
class RowParams(SkinnyParams):
    """tile: inputs in LDS at a time.  factors: weights of the inputs, as a norm has them, read by every block.  columns, run,
    threads: as in SkinnyStageParams.  zeros: units of 16 bytes after the inputs that stand for those of other scale groups."""

    tile: int
    columns: int
    run: int
    factors: tuple[str, ...]
    zeros: int
    threads: int = THREADS


@dataclass(frozen=True)
class RingShare:
    """The thread blocks of a family. blocks: so many, from block `start` on; each makes every `blocks`th of `tiles` tiles of outputs."""

    start: int
    blocks: int
    tiles: int

    @property
    def stop(self) -> int:
        return self.start + self.blocks


@dataclass(frozen=True)
class SeenRead:
    """One of LinearRegion.reads. static: of a weight, which need not be waited for.  reduced: by threads that read for themselves."""

    number: int
    text: str
    static: bool
    reduced: bool


@dataclass(frozen=True)
class InputsOnce:
    """All inputs of a row in registers, read once. runs: of eight inputs, of a thread; own: of each of the THREADS that reduce, 0: the same runs.
    load, elements: of the region and its statistics, of what is in registers."""

    reads: tuple[SeenRead, ...]
    runs: int
    own: int
    load: str
    elements: tuple[str, ...]


@dataclass(frozen=True)
class RingParams(RowParams):
    """stages: of a wave's ring.  slot: its bytes of one iteration.  shares: of each family."""

    stages: int = 0
    slot: int = 0
    shares: tuple[RingShare, ...] = ()
    once: InputsOnce | None = None


@dataclass(frozen=True)
class RowsParams(SkinnyParams):
    """column_tiles: MMAs that a wave issues for each operand of weights.  stride: places for rows in staged inputs: the most that the kernel serves.
    staged_sums, staged_units: as in SkinnyStageParams.  group_floats: likewise, 0 where a step has no more than `stride` rows."""

    column_tiles: int
    stride: int
    group_floats: int
    staged_sums: int
    staged_units: int


IN_FLIGHT = KernelLimits(
    128, "bound by memory: the weights of a wave's next iteration are on their way while it multiplies", narrowest=1
)
ROW = template(__file__, "skinny_row", IN_FLIGHT, RowParams)
RING = template(__file__, "skinny_ring", IN_FLIGHT, RingParams)
SEVERAL = template(__file__, "skinny_rows", IN_FLIGHT, RowsParams)

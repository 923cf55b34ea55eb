"""recurrence: a linear recurrence with scalar or vector decay, with or without the delta rule, states in place."""

from hfc.backend.shape import Geometry
from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.recurrence.bind import bind
from hfc.backend.skeletons.recurrence.region import RecurrenceRegion
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.target.arch import Arch
from hfc.target.state_block import lane_elements, lanes_of_column

LDS_FLOATS = 5888  # of a block: two blocks to a compute unit, with attention's blocks of one query head (9 KB) in the same launch


@dataclass(frozen=True)
class RecurrenceParams(Params):
    """split: lanes that share a column of the state, `depth` elements each.  columns: of a block, `column_blocks` make a head.
    tokens: rows whose operands and outputs lie in LDS together.  entry: numbers of a head's row in the journal."""

    split: int
    depth: int
    columns: int
    column_blocks: int
    tokens: int
    entry: int


IN_REGISTERS = KernelLimits(128, "the state lies in registers by design; its rows are independent products")
RECURRENCE = template(__file__, "recurrence", IN_REGISTERS, RecurrenceParams)


def launches(bound: Bound[RecurrenceRegion], arch: Arch) -> tuple[Geometry, ...]:
    """One kernel for all numbers of rows, so one order of additions: a block carries a value head through a segment."""
    region = bound.region
    split = lanes_of_column(region.dk)
    depth = lane_elements(region.dk, split)
    columns, column_blocks = region.columns, region.column_blocks
    of_row = 2 * split * depth + 2 * columns + (split * depth if region.decays > 1 else 1) + 1
    tokens = max(1, min(16, LDS_FLOATS // of_row))
    params = RecurrenceParams(split, depth, columns, column_blocks, tokens, region.waiting)
    block = -(-columns * split // arch.wave) * arch.wave
    grid = (str(region.v_heads * column_blocks), "G", "1")
    return (Geometry(RECURRENCE, bound.name, grid, block, params, declared=4 * tokens * of_row),)


SKELETON = Skeleton(
    "recurrence",
    ("linear_recurrence",),
    RecurrenceRegion,
    bind,
    always(launches),
    (RECURRENCE,),
    tolerance=1e-3,  # what a long product of decays does to the last bits
    host="skeletons/recurrence/host.c.j2",
)

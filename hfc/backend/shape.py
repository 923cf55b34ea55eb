"""How a bound region is cut into launches: grid, block, the parameters that a template unrolls by, and memory between launches."""

from __future__ import annotations

from hfc.backend.spec import Arg, Bound
from hfc.backend.template import KernelLimits, KernelTemplate, Params
from hfc.base.dataclass import dataclass
from hfc.plan import Product


@dataclass(frozen=True)
class Scratch:
    """Memory in which one launch leaves something for the next one of its region; regions share it by name.

    ctype: element as C spells it; dtype: as the plan does.  row_bytes: for each row of a step.  rows: most rows of the steps
    that use it (None: those of the plan).  written: by this launch.  whole: memory is for a multiple of this many rows.
    outputs: rows are those whose logits are wanted.  together: rows that share `row_bytes`.
    """

    name: str
    ctype: str
    dtype: str
    row_bytes: int
    rows: int | None = None
    written: bool = False
    whole: int = 1
    outputs: bool = False
    together: int = 1


@dataclass(frozen=True)
class Geometry:
    """One launch of a region.

    template: what serves it.  symbol: device function.  grid: C integer expressions in T, R, G (rows, outputs, segments of a step)
    and C (its longest context, rounded up: Step.reach), which mean the same in Python where / is //.
    block: threads.  lds_bytes: dynamic LDS to ask for (0: all of it is declared in the kernel).  declared: what a kernel declares, if that
    is more than a kilobyte.
    params: the template's own variables, a pure function of the bound region, the arch and the class of rows.
    promises: features whose instructions must be in the code.
    loaders: device functions that the template calls, beside those of the formats.
    scratch: more pointers of the kernel, after those of the region.
    task: what the launch does for its region, e.g. "stage the inputs of"; empty: the work itself, to which its bytes count.
    member: the joined region that it serves, by its number; None: the region itself.  counts: the members whose bytes count to it.
    beside: the launches of members that it is made of; their arguments stand one after the other.
    input_bits: significant bits of the inputs of its products, of those that have the fewest; 0: it has no products.
    """

    template: KernelTemplate
    symbol: str
    grid: tuple[str, str, str]
    block: int
    params: Params
    lds_bytes: int = 0
    promises: tuple[str, ...] = ()
    loaders: str = ""
    scratch: tuple[Scratch, ...] = ()
    task: str = ""
    member: int | None = None
    counts: tuple[int, ...] = ()
    beside: tuple[Geometry, ...] = ()
    declared: int = 0
    input_bits: int = 0

    def __post_init__(self) -> None:
        assert self.block <= 1024, f"{self.symbol}: {self.block} threads"
        assert type(self.params) is self.template.params, f"{self.symbol}: {self.template.file} takes other parameters"


BESIDE = KernelTemplate("beside.hip.j2", KernelLimits(1, "each of the kernels in it has its own limit"))


@dataclass(frozen=True)
class LibraryCall:
    """A launch that is a product by a library. weight: argument of the region; inputs, outputs: its other pointers."""

    product: Product
    weight: Arg
    inputs: Scratch
    outputs: Scratch


def one_row_per_block(bound: Bound) -> tuple[str, str, str]:
    """The grid of kernels that give each row a thread block."""
    return (bound.rows, "1", "1")

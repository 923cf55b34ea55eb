"""A skeleton: how one kind of region becomes kernels. Each is a folder of hfc/backend/skeletons that exports SKELETON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from hfc.backend.body import Printer
from hfc.backend.shape import Geometry, LibraryCall
from hfc.backend.spec import Bound, KernelRegion
from hfc.backend.template import KernelTemplate
from hfc.base.dataclass import dataclass
from hfc.ir.graph import Op
from hfc.target.arch import Arch

RowsClass = Literal["decode", "prefill"]
ROWS_CLASSES: tuple[RowsClass, ...] = (
    "decode",
    "prefill",
)  # few rows: weights are read once a row; many: once a tile of rows


@dataclass(frozen=True)
class Variant:
    """One way to serve a region.

    what: how, and what it is for.  launches: in order.  refuses: why it cannot or should not, in figures; None: it serves the region.
    chosen_by: where its parameters were chosen by comparing candidates, which, with figures; None: by rules alone."""

    name: str
    what: str
    launches: Callable[[Bound, Arch], tuple[Geometry, ...]]
    refuses: Callable[[Bound, Arch], str | None] = lambda bound, arch: None
    chosen_by: Callable[[Bound, Arch], str | None] = lambda bound, arch: None


@dataclass(frozen=True)
class Skeleton:
    """roots: op kinds that make a region this skeleton's.  region: the class of its bound regions.

    bind: region op and its Printer -> Bound; None: no region of a graph is bound to it (sample, adopt).
    variants: for each class of rows, the first that does not refuse serves.  templates: every one that its launches use.
    tolerance: relative L2 that a correct kernel stays below, whatever instructions it chose (hfc selftest).  of_bytes: the same in plans
    of profile "turbo"; None: no other.
    host: the template of the CPU's kernel, by its path from hfc/backend.  by_library: the launches of a prefill that leaves products
    to a library; () where its own kernels serve.
    """

    stem: str
    roots: tuple[str, ...]
    region: type[KernelRegion]
    bind: Callable[[Op, Printer], Bound] | None
    variants: Mapping[RowsClass, tuple[Variant, ...]]
    templates: tuple[KernelTemplate, ...]
    tolerance: float
    of_bytes: float | None = None
    host: str | None = None
    by_library: Callable[[Bound, Arch], tuple[Geometry | LibraryCall, ...]] = lambda bound, arch: ()


def always(launches: Callable[[Bound, Arch], tuple[Geometry, ...]]) -> dict[RowsClass, tuple[Variant, ...]]:
    """The variants of a skeleton that has one way for all rows."""
    only = (Variant("only", "the one way for all rows and architectures", launches),)
    return {"decode": only, "prefill": only}

"""Large linears of a prompt as products of rocBLAS: stage the inputs, multiply by each weight, store as the region says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hfc.backend.shape import Geometry, LibraryCall, Scratch
from hfc.backend.skeletons.linear.groups import group_blocks
from hfc.backend.skeletons.linear.mma.geometry import EXACT_FORMATS, PAIRS, stage, staged, staged_stride
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.spec import Bound
from hfc.backend.template import KernelLimits, Params, template
from hfc.base.dataclass import dataclass
from hfc.plan import Product
from hfc.target.arch import Arch

# of one product: a step's rows are rounded up to it, so that a row's bits do not depend on how many there are
ROWS = 256
LARGE = 1 << 22  # weights; below, launches cost more than a tuned product saves
SPAN = 1024  # outputs that a block of the last launch stores


@dataclass(frozen=True)
class LibraryFinishParams(Params):
    """span: outputs of a block, of `total`.  firsts: first output of each weight.  starts: first block of each group.
    staged_stride: elements from one staged row to the next."""

    span: int
    total: int
    firsts: Mapping[str, int]
    staged_stride: int
    starts: tuple[int, ...]
    groups: tuple[tuple[Matrix, ...], ...]


FINISH = template(
    __file__,
    "library_finish",
    KernelLimits(256, "reads and writes: only many lanes hide the latency"),
    LibraryFinishParams,
)


def by_library(bound: Bound[LinearRegion], arch: Arch) -> tuple[Geometry | LibraryCall, ...]:
    """The launches of `bound`; none where its own kernels serve it."""
    if not arch.has("rocblas") or not _suits(bound):
        return ()
    region = bound.region
    dtype, stride = region.parts[0].format.name, staged_stride(region, PAIRS)
    outputs = Scratch("product", "float", "f32", 4 * region.outputs, whole=ROWS)
    inputs, calls, at = replace(staged(region, PAIRS, written=False), whole=ROWS), [], 0
    for part in region.parts:
        for low in (0, 1):  # x = high + low
            product = Product(ROWS, part.n, region.k, dtype, stride, low * region.k, region.outputs, at, bool(low))
            calls.append(LibraryCall(product, part.weight, inputs, outputs))
        at += part.n
    return (stage(bound, arch, PAIRS, dtype), *calls, _finish(bound, inputs, outputs))


def _suits(bound: Bound[LinearRegion]) -> bool:
    region = bound.region
    if region.top or bound.rows != "T" or region.rotate:
        return False
    names = {form.name for form in region.weight_formats}
    return len(names) == 1 and names <= set(EXACT_FORMATS) and region.k % 8 == 0 and region.k * region.outputs >= LARGE


def _finish(bound: Bound[LinearRegion], inputs: Scratch, outputs: Scratch) -> Geometry:
    region = bound.region
    starts, blocks = group_blocks(region, SPAN)
    firsts = {part.weight.name: sum(p.n for p in region.parts[:i]) for i, part in enumerate(region.parts)}
    params = LibraryFinishParams(SPAN, region.outputs, firsts, staged_stride(region, PAIRS), starts, region.groups)
    return Geometry(
        FINISH, bound.name + "_finish", (str(blocks), bound.rows, "1"), 256, params, scratch=(inputs, outputs)
    )

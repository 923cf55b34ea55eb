"""Large linears of a prompt as products of rocBLAS: stage the inputs, multiply by each weight, store as the region says."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.geometry.parts import groups, part_blocks
from hfc.backend.geometry.prefill import EXACT_FORMATS, stage, staged, staged_stride
from hfc.backend.geometry.shape import Geometry, LibraryCall, Scratch, make
from hfc.backend.spec import Bound
from hfc.plan import Product
from hfc.target.arch import Arch

# of one product: a step's rows are rounded up to it, so that a row's bits do not depend on how many there are
ROWS = 256
LARGE = 1 << 22  # weights; below, launches cost more than a tuned product saves
SPAN = 1024  # outputs that a block of the last launch stores


def by_library(bound: Bound, arch: Arch) -> tuple[Geometry | LibraryCall, ...]:
    """The launches of `bound`; none where its own kernels serve it."""
    if not arch.has("rocblas") or not _suits(bound):
        return ()
    parts, k = bound.extra["parts"], bound.extra["k"]
    dtype, stride, total = parts[0].format.name, staged_stride(bound), sum(part.n for part in parts)
    outputs = Scratch("product", "float", "f32", 4 * total, whole=ROWS)
    inputs, calls, at = replace(staged(bound, written=False), whole=ROWS), [], 0
    for part in parts:
        for low in (0, 1):  # x = high + low
            product = Product(ROWS, part.n, k, dtype, stride, low * k, total, at, bool(low))
            calls.append(LibraryCall(product, part.weight, inputs, outputs))
        at += part.n
    return (stage(bound, arch, dtype), *calls, _finish(bound, inputs, outputs))


def _suits(bound: Bound) -> bool:
    if bound.stem != "linear" or bound.extra["top"] or bound.rows != "T" or bound.extra.get("rotate"):
        return False
    names = {part.format.name for part in bound.extra["parts"]}
    size = bound.extra["k"] * sum(part.n for part in bound.extra["parts"])
    return len(names) == 1 and names <= set(EXACT_FORMATS) and bound.extra["k"] % 8 == 0 and size >= LARGE


def _finish(bound: Bound, inputs: Scratch, outputs: Scratch) -> Geometry:
    parts = bound.extra["parts"]
    starts, blocks = part_blocks(bound, SPAN)
    numbers = {
        "span": SPAN,
        "total": sum(part.n for part in parts),
        "firsts": {part.weight.name: sum(p.n for p in parts[:i]) for i, part in enumerate(parts)},
        "staged_stride": staged_stride(bound),
        "starts": starts,
        "groups": groups(bound),
    }
    made = make(bound, "linear_finish", (str(blocks), bound.rows, "1"), 256, numbers, suffix="_finish")
    return replace(made, scratch=(inputs, outputs))

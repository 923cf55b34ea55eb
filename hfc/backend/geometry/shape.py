"""What a geometry is, and how one is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hfc.backend.spec import Arg, Bound
from hfc.plan import Product


@dataclass(frozen=True)
class Scratch:
    """Memory in which one launch leaves something for the next one of its region; regions share it by name.

    ctype: element as C spells it; dtype: as the plan does.  row_bytes: for each row of a step.  rows: most rows of the steps
    that use it (None: those of the plan).  written: by this launch.  whole: memory is for a multiple of so many rows.
    """

    name: str
    ctype: str
    dtype: str
    row_bytes: int
    rows: int | None = None
    written: bool = False
    whole: int = 1


@dataclass(frozen=True)
class Geometry:
    """template: file that serves the region.  symbol: device function.  grid: C integer expressions in T, R, G (rows, outputs, segments of a step)
    and C (its longest context, rounded up: Step.reach), which mean the same in Python where / is //.

    block: threads.  lds_bytes: dynamic LDS to ask for (0: all of it is declared in the kernel).
    numbers: template variables, a pure function of the bound region, the arch and the class.
    loaders: device functions that the template calls, beside those of the formats.
    scratch: more pointers of the kernel, after those of the region.
    task: what the launch does for its region, e.g. "stage the inputs of"; empty: the work itself, to which its bytes count.
    """

    template: str
    symbol: str
    grid: tuple[str, str, str]
    block: int
    lds_bytes: int
    numbers: dict[str, Any]
    loaders: str = ""
    scratch: tuple[Scratch, ...] = ()
    task: str = ""


@dataclass(frozen=True)
class LibraryCall:
    """A launch that is a product by a library. weight: argument of the region; inputs, outputs: its other pointers."""

    product: Product
    weight: Arg
    inputs: Scratch
    outputs: Scratch


def make(
    bound: Bound, template: str, grid: tuple[str, str, str], block: int, numbers: dict[str, Any], suffix: str = ""
) -> Geometry:
    assert block <= 1024, f"{bound.name}: {block} threads"
    return Geometry(f"kernels/{template}.hip.j2", bound.name + suffix, grid, block, 0, {**numbers, "block": block})

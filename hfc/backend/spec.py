"""The contract between a kernel region and a skeleton: what `bind` extracts of a region, in types.

A skeleton (hfc/backend/skeletons/<name>/) binds a region to a `Bound`, whose `region` is a frozen dataclass of the skeleton's own.
Its templates see the fields of that dataclass, those of the template's parameters and what hfc/backend/hip.py names STANDARD, and
nothing else. Element expressions are scalar C that is valid HIP and C alike; they read pointers declared in `args` and the variables
named here:

    row     row of the step (0..T-1), or of the outputs (0..R-1) where `rows` is "R"
    g, j    group and element within the group: a task's vector is [groups, size]
    stat0…  reductions of this row and group, computed before the elements, in order

Functions that expressions may call are in `device/math.h` and `host/math.h` (hfc_exp, hfc_silu, …), same names.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.formats.kv_format import KvFormat
from hfc.ir.graph import Value
from hfc.pointer import PointerKind


@dataclass(frozen=True)
class Arg:
    """A pointer parameter. kind: as of the plan's Pointer; `value` is the IR value it points to.

    plane: "" or, for a KV state, "k" / "v".  ctype: element type as C spells it (float, int32_t, uint8_t for blocks).
    """

    name: str
    kind: PointerKind
    ctype: str
    value: Value | None
    plane: str = ""
    written: bool = False

    @property
    def behind(self) -> Value:
        """The IR value, of a pointer that has one."""
        assert self.value is not None, f"{self.name} is a pointer of no value"
        return self.value

    @property
    def is_weight(self) -> bool:
        return self.kind == "weight"

    @property
    def is_read_only(self) -> bool:
        """No kernel writes it."""
        return self.kind in ("weight", "const")


@dataclass(frozen=True)
class Stat:
    """A reduction over the `size` elements of group `g` of `row`: stat = finish(sum or max over j of `element`).

    name: the C variable.  reduce: "sum" | "max".  element: C expression in row, g, j.
    finish: C expression of the reduced value `r`, e.g. "hfc_rsqrt(r / 576.0f + 1e-05f)".
    """

    name: str
    size: int
    reduce: str
    element: str
    finish: str


@dataclass(frozen=True)
class KernelRegion:
    """Base of the skeletons' dataclasses. The properties say what the code around all skeletons must know of a region."""

    @property
    def members(self) -> tuple[Bound, ...]:
        """The regions that were joined into it, bound each by itself."""
        return ()

    @property
    def host_part(self) -> int | None:
        """What the host computes in place of a kernel, by its number; None: a kernel computes it."""
        return None

    @property
    def matrix_args(self) -> tuple[Arg, ...]:
        """Weights that the kernels multiply: they lie in the back end's matrix layout, others row by row as stored."""
        return ()

    @property
    def weight_formats(self) -> tuple[BlockFormat, ...]:
        """Formats whose element loaders the kernels call, beside those of the weights among their arguments."""
        return ()

    @property
    def kv_formats(self) -> tuple[KvFormat, ...]:
        """Formats of the KV cache that is read or written."""
        return ()

    @property
    def kv_head_size(self) -> int:
        """Elements of a head where the cache is read in runs of eight (hfc/backend/lanes/kv_runs.py); 0: it is not."""
        return 0

    @property
    def journals(self) -> tuple[tuple[Arg, int], ...]:
        """Journals of recurrent states (hfc/step.py, Segment.commit), each with how many numbers say what a row does to its state."""
        return ()

    @property
    def rows_per_row(self) -> int:
        """Rows of the kernel for each row of the step: the experts chosen for it, else 1."""
        return 1

    @property
    def row_elements(self) -> int:
        """Elements of a weight's row, for the gate of narrow loads; 0: no weight is read in a loop."""
        return 0

    @property
    def gated_formats(self) -> tuple[str, ...]:
        """Names of the formats by which allowances of gates go: of weights multiplied and of the cache written."""
        return ()


R = TypeVar("R", bound=KernelRegion)


@dataclass(frozen=True)
class Bound(Generic[R]):
    """A region bound to a skeleton.

    stem: the skeleton.  name: symbol; equal content gives an equal name.  args: the kernel's pointers, in order.
    rows: "T", the rows of the step, or "R", those whose logits are wanted.  region: the skeleton's own dataclass."""

    stem: str
    name: str
    args: tuple[Arg, ...]
    rows: str
    region: R

    def served(self, member: int | None) -> Bound:
        """What a launch serves: the joined region of that number, or for None this one."""
        return self if member is None else self.region.members[member]

"""A linear region: one input, one or more weight matrices, and what happens to their results."""

from __future__ import annotations

from hfc.backend.spec import Arg, KernelRegion, Stat
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat


@dataclass(frozen=True)
class Matrix:
    """One weight matrix [n, k], or [experts, n, k] where rows choose experts.

    store: C statement in row, n and y (this matrix's result): its epilogue; empty in a zipped region.
    store_reads: what it reads of memory, as it stands there; in a zipped region the first matrix has what the region's store reads."""

    weight: Arg
    format: BlockFormat
    n: int
    store: str
    store_reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinearRegion(KernelRegion):
    """y = prologue(x) wᵀ, then an epilogue.

    load: the prologue, C expression of input element j, in row, j and the stats; g = 0.  stats: its reductions (one group).
    reads: what both read of memory for element j, as it stands in them, and whatever j is.
    rotate: elements that are rotated together after loading (hfc/formats/rotation.py); 0: none.
    zipped: one epilogue joins the results of all matrices, which have one size (gate and up).  store: this epilogue, a C statement
    in row, n and y0, y1, … one a matrix; empty where every matrix has its own.
    top: experts chosen for each row, else 0; then `row` is the index of a (token, choice) pair, token = row / top.
    experts: the chosen experts' numbers; None without.  expert_count: of all.  token_inputs: all choices of a token have one input.
    single_product: prompts may round inputs and weights to f16, so that matrix units need one product a weight (profiles "fast", "turbo").
    byte_inputs: inputs may be rounded to whole numbers of 8 bits (profile "turbo").
    """

    k: int
    parts: tuple[Matrix, ...]
    load: str
    stats: tuple[Stat, ...] = ()
    reads: tuple[str, ...] = ()
    zipped: bool = False
    store: str = ""
    rotate: int = 0
    top: int = 0
    experts: Arg | None = None
    expert_count: int = 0
    token_inputs: bool = False
    single_product: bool = False
    byte_inputs: bool = False

    @property
    def matrix_args(self) -> tuple[Arg, ...]:
        return tuple(part.weight for part in self.parts)

    @property
    def weight_formats(self) -> tuple[BlockFormat, ...]:
        return tuple({part.format.name: part.format for part in self.parts}.values())

    @property
    def rows_per_row(self) -> int:
        return max(1, self.top)

    @property
    def row_elements(self) -> int:
        return self.k

    @property
    def gated_formats(self) -> tuple[str, ...]:
        return tuple(part.format.name for part in self.parts)

    @property
    def reads_its_row(self) -> bool:
        """All that the inputs and their reductions read is known, and each reduction is of the whole row: a kernel may read them once."""
        return bool(self.reads) and all(stat.size == self.k for stat in self.stats)

    def of_registers(self, name: str) -> tuple[str, tuple[str, ...]]:
        """load and the element of each statistic, with read number n as NAMEn[run][i]."""
        load, elements = self.load, [stat.element for stat in self.stats]
        for number, read in enumerate(self.reads):
            load = load.replace(read, f"{name}{number}[run][i]")
            elements = [element.replace(read, f"{name}{number}[run][i]") for element in elements]
        return load, tuple(elements)

    @property
    def groups(self) -> tuple[tuple[Matrix, ...], ...]:
        """Matrices that one thread block works on together: all when zipped, else each alone."""
        return (self.parts,) if self.zipped else tuple((part,) for part in self.parts)

    @property
    def together(self) -> int:
        """Matrices of the largest group."""
        return len(self.parts) if self.zipped else 1

    @property
    def outputs(self) -> int:
        """Of all matrices."""
        return sum(part.n for part in self.parts)

    @property
    def input_shared_by(self) -> int:
        """Neighbouring rows that have one input: all choices of a token, if it is the token's."""
        return self.top if self.top and self.token_inputs else 1

    @property
    def input_rows(self) -> int:
        """Different inputs for each row of the step."""
        return self.rows_per_row // self.input_shared_by

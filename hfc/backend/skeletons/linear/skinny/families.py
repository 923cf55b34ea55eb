"""The matrices of a skinny region by the code that multiplies them: zipped together, or by format."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.backend.lanes.operands import OperandLanes
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.base.dataclass import dataclass


@dataclass(frozen=True)
class FormatMatrices:
    """The matrices of a family that have one format. parts: their numbers."""

    lanes: OperandLanes
    parts: tuple[int, ...]


@dataclass(frozen=True)
class MatrixFamily:
    """Matrices that share code, zipped or of one format. start, stop: its blocks.  firsts: first block of each matrix, from start."""

    parts: tuple[Matrix, ...]
    start: int
    stop: int
    firsts: tuple[int, ...]
    by_format: tuple[FormatMatrices, ...]

    @property
    def most_reads(self) -> int:
        """Elements that the epilogue of one of its matrices reads of memory."""
        return max(len(part.store_reads) for part in self.parts)


def families_of(
    region: LinearRegion, lanes: Mapping[str, OperandLanes], outputs: int
) -> tuple[tuple[MatrixFamily, ...], int]:
    """The families and the number of blocks. outputs: of a matrix in a block."""
    found: dict[str, list[Matrix]] = {}
    for part in region.parts:
        found.setdefault("" if region.zipped else part.format.name, []).append(part)
    families, at = [], 0
    for parts in found.values():
        counts = [-(-part.n // outputs) for part in (parts[:1] if region.zipped else parts)]
        numbers: dict[str, list[int]] = {}
        for number, part in enumerate(parts):
            numbers.setdefault(part.format.name, []).append(number)
        by_format = tuple(FormatMatrices(lanes[name], tuple(of)) for name, of in numbers.items())
        firsts = tuple(sum(counts[:i]) for i in range(len(counts)))
        families.append(MatrixFamily(tuple(parts), at, at + sum(counts), firsts, by_format))
        at += sum(counts)
    return tuple(families), at

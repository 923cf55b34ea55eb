"""What is done to a tensor beside packing: scales that move between it and its neighbours, and the importance of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.formats import BlockFormat, RowFormat
from hfc.formats.rotation import GROUP, rotate
from hfc.quantize.feedback import factor, pack_with_feedback, rotated_diagonal


@dataclass(frozen=True, eq=False)
class Treatment:
    """columns: what each input is multiplied by, f32 [K]; of a vector stored as w - shift, (w + shift) · columns - shift.
    rows: what each output is multiplied by, f32 [N].  importance: mean squares of the inputs that remain, f32 [1 or experts, K]."""

    columns: np.ndarray | None = None
    rows: np.ndarray | None = None
    shift: float = 0.0
    importance: np.ndarray | None = None

    @property
    def changes(self) -> bool:
        """Whether the tensor's values become others."""
        return self.columns is not None or self.rows is not None

    def apply(self, values: np.ndarray, start: int) -> np.ndarray:
        """values: f32 [rows, K], of which the first is the tensor's row `start`."""
        if self.columns is not None:
            values = (values + np.float32(self.shift)) * self.columns - np.float32(self.shift)
        if self.rows is not None:
            values = values * self.rows[start : start + len(values), None]
        return values

    def undo(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `apply` for a whole matrix."""
        if self.columns is not None:
            values = values / self.columns
        return values if self.rows is None else values / self.rows[:, None]

    def packed(self, form: BlockFormat | RowFormat, values: np.ndarray, start: int, per_matrix: int) -> np.ndarray:
        """values: f32 [rows, K] from row `start` on, not rotated yet.  per_matrix: rows of an expert, or all rows.

        Rotation spreads every input over its group, so that no element of a group matters more than another; but then
        their errors are related, and error feedback makes use of that."""
        if not isinstance(form, BlockFormat):
            return form.pack(rotate(values) if form.rotated else values)
        if self.importance is None:  # GGUF's formats stay those of GGUF's reference quantizers
            return form.pack(rotate(values) if form.rotated else values, search=form.gguf_type is None)
        out = np.empty((len(values), form.row_bytes(values.shape[1])), np.uint8)
        for rows, matrix in _by_matrix(start, len(values), per_matrix):
            matrix = matrix if len(self.importance) > 1 else 0
            if form.rotated:
                out[rows] = pack_with_feedback(form, rotate(values[rows]), self._factors[matrix])
            else:
                out[rows] = form.pack(values[rows], self.importance[matrix])
        return out

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        """Of each matrix, for groups that are rotated."""
        return [factor(rotated_diagonal(importance, GROUP)) for importance in self.importance]


UNTREATED = Treatment()
Treatments = Mapping[str, Treatment]  # by tensor name


def _by_matrix(start: int, count: int, per_matrix: int) -> Iterator[tuple[slice, int]]:
    """Rows start … start + count of a stack of matrices, cut where a matrix ends: slices of the rows, and their matrix."""
    at = 0
    while at < count:
        matrix = (start + at) // per_matrix
        stop = min(count, (matrix + 1) * per_matrix - start)
        yield slice(at, stop), matrix
        at = stop

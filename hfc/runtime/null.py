"""The null device: runs nothing, counts launches and bytes. Logits are zero."""

from __future__ import annotations

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.plan import Plan, at_most_once, weight_sizes
from hfc.program import Program
from hfc.runtime.launcher import grid_size
from hfc.runtime.limits import check_step, tap_buffer
from hfc.step import Step


@dataclass
class NullCount:
    """Totals since the model was made."""

    steps: int = 0
    launches: int = 0
    bytes: int = 0
    flops: int = 0


class NullModel:
    """Adds up what each launch of a step would move: its fixed, per-row, per-segment and per-context parts.

    A launch whose grid is empty does not count; what it stands for is moved by another one of its region."""

    def __init__(self, plan: Plan, program: Program | None = None):
        self.plan, self.count = plan, NullCount()
        self.vocab, self.context, self.max_rows, self.slots = plan.vocab, plan.context, plan.max_rows, plan.slots
        self.max_outputs = plan.max_outputs
        self._program = program or next(iter(plan.programs))
        self._weights = weight_sizes(plan)
        self._buffers = {b.pointer: b.row_bytes for b in plan.buffers}

    def forward(self, step: Step) -> np.ndarray:
        check_step(step, self.plan)
        times = {
            "step": 1,
            "row": len(step.tokens),
            "segment": len(step.segments),
            "context": int(sum(step.positions + 1)),
        }
        self.count.steps += 1
        for launch in self.plan.programs[self._program]:
            self.count.launches += all(grid_size(expression, step) for expression in launch.grid)
            by_rows = at_most_once(launch, times["row"], self._weights, self._buffers)
            self.count.bytes += by_rows + sum(launch.bytes[kind] * times[kind] for kind in ("segment", "context"))
            self.count.flops += sum(n * times[kind] for kind, n in launch.flops.items())
        return np.zeros((len(step.output_rows), self.vocab), np.float32)

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        return np.zeros((count, tap_buffer(self.plan, name).row_bytes // 4), np.float32)

    def close(self) -> None:
        """Nothing to release; here because every model has it."""

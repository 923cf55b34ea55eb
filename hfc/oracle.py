"""The interpreter as a device: any model on disk, run by the numpy meaning of its graph. Slow, and right."""

from __future__ import annotations

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.compiler import CompilerInput
from hfc.formats.checkpoint import evaluate
from hfc.ir.graph import Graph, Op
from hfc.ir.interpret import Interpreter
from hfc.step import Step


class InterpretedModel:
    """Weights are unpacked to f32 when the graph is loaded. graph: the source's own unless a pass's result is given."""

    def __init__(self, source: CompilerInput, context: int, slots: int = 1, graph: Graph | None = None):
        if source.checkpoint is None:
            raise HfcError(f"{source.path}: there are no weights to run")
        self._checkpoint, self._unpacked = source.weights(), {}
        self.context, self.slots, self.max_rows, self.max_outputs = context, slots, context, context
        pair = source.pair() if source.draft and graph is None else None
        graph = graph or (pair.target if pair else source.graph())
        self.draft_graph = pair and pair.draft
        rows, self.vocab = graph.outputs[0].type.shape
        self._narrowed = rows == "R"
        self.interpreter = Interpreter(
            graph, self._weight, slots, context, (self.draft_graph,) if self.draft_graph else ()
        )

    def forward(self, step: Step) -> np.ndarray:
        """Logits of the wanted rows, f32 [R, vocab]."""
        logits = self.interpreter.run(step)[0]
        return logits if self._narrowed else logits[step.output_rows]

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step: i32 [T] tokens and f32 [T, vocab] logits, see DraftPlan."""
        logits, tokens = self.interpreter.run(step, self.draft_graph)
        return tokens, logits

    def close(self) -> None:
        """Nothing to release; here because every model has it."""

    def _weight(self, op: Op) -> np.ndarray:
        recipe, shape = op.attrs["recipe"], op.output.type.shape  # one tensor may stand for several shapes
        if (recipe, shape) not in self._unpacked:
            data = evaluate(recipe, self._checkpoint, self.context)
            if op.is_weight:
                data = data.with_shape(op.output.type.shape, op.attrs["name"])
            self._unpacked[recipe, shape] = np.asarray(data.f32(), np.float32)
        return self._unpacked[recipe, shape]

"""Runs a model's graph once over many texts, op by op: a weight is unpacked when an op needs it and forgotten after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.compiler import CompilerInput
from hfc.formats import weight_format
from hfc.formats.checkpoint import Checkpoint, WeightData, evaluate
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.interpret import Interpreter
from hfc.ir.ops import definition
from hfc.ir.roles import is_lookup, is_product, is_rotation, of_experts
from hfc.step import Segment, Step

# Called before a linear runs: op, its inputs [T, …, K] as the checkpoint's weights see them, the chosen experts [T, top] or None.
Watch = Callable[[Op, np.ndarray, "np.ndarray | None"], None]


class Rows:
    """Stands where an op reads a table or experts: `w[rows]` is unpacked, the rest stays packed."""

    def __init__(self, data: WeightData):
        self._data, self.shape, self.ndim = data, data.shape, len(data.shape)

    def __getitem__(self, rows) -> np.ndarray:
        form = weight_format(self._data.format)
        return form.unpack(np.ascontiguousarray(self._data.raw[rows])).astype(np.float32, copy=False)


def stream(
    source: CompilerInput, pieces: Sequence[np.ndarray], watch: Watch, weights: Checkpoint | None = None
) -> None:
    """Every piece of text from its start, all in one step. weights: where they come from; may change while the model runs.

    Nothing runs after the last linear, whose outputs (logits of all positions) nobody wants."""
    if source.checkpoint is None:
        raise HfcError(f"{source.path}: there are no weights to run")
    graph, context = source.graph(), max(map(len, pieces))
    ops = [op for op in graph.walk() if not op.is_source]
    ops = ops[: 1 + max(i for i, op in enumerate(ops) if is_product(op))]
    last = {value: i for i, op in enumerate(ops) for value in (*op.inputs, *op.outputs)}
    makers = {op.output: op for op in graph.ops_of("weight", "const")}
    rotations = {op.output: op.inputs[0] for op in ops if is_rotation(op)}
    for rotated, plain in rotations.items():  # statistics are of what stands before
        last[plain] = max(last[plain], last[rotated])
    step, env = _step(pieces), _states(graph, len(pieces), context)
    env |= dict.fromkeys(graph.inputs, step.tokens)
    for i, op in enumerate(ops):
        if is_product(op):
            watch(
                op,
                env[rotations.get(op.inputs[0], op.inputs[0])],
                env[op.inputs[2]] if of_experts(op) else None,
            )
        if i + 1 < len(ops):
            for value in op.inputs:
                if value in makers and value not in env:
                    env[value] = _weight(makers[value], op, weights or source.checkpoint, context)
            _execute(op, env, step)
        for value in {*op.inputs, *op.outputs}:
            if last[value] == i:
                env.pop(value, None)


def _step(pieces: Sequence[np.ndarray]) -> Step:
    """A slot for each piece."""
    starts = np.cumsum([0, *map(len, pieces)])
    segments = tuple(Segment(i, int(start), len(piece), 0) for i, (start, piece) in enumerate(zip(starts, pieces)))
    return Step(np.concatenate(pieces).astype(np.int32), segments, np.arange(1, dtype=np.int32))


def _states(graph: Graph, slots: int, context: int) -> dict[Value, object]:
    empty = Interpreter(graph, lambda op: None, slots, context).states
    return {op.output: empty[op.attrs["name"]] for op in graph.ops_of("state")}


def _weight(op: Op, reader: Op, checkpoint: Checkpoint, context: int) -> object:
    data = evaluate(op.attrs["recipe"], checkpoint, context)
    if op.is_weight:
        data = data.with_shape(op.output.type.shape, op.attrs["name"])
    checkpoint.release()
    by_rows = is_lookup(reader) or of_experts(reader)
    return Rows(data) if by_rows else np.asarray(data.f32(), np.float32)


def _execute(op: Op, env: dict[Value, object], step: Step) -> None:
    spec = definition(op.kind)
    result = spec.meaning(*(env[v] for v in op.inputs), **op.attrs, **({"step": step} if spec.wants_step else {}))
    for value, array in zip(op.outputs, result if isinstance(result, tuple) else (result,)):
        env[value] = array

"""Runs a graph, fused or not, on numpy: the meaning that every pass and kernel is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.formats import KV_FORMATS
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.ops import definition
from hfc.step import Step


@dataclass(frozen=True)
class KvCache:
    """Keys and values, f32 [slots, kv_heads, places, head], rounded through their formats when written. every: see TensorType."""

    k: np.ndarray
    v: np.ndarray
    k_format: str
    v_format: str
    every: int = 1

    def append(self, k: np.ndarray, v: np.ndarray, step: Step) -> "KvCache":
        """k, v: [T, kv_heads, head]. Writes in place: positions of the step are not read before."""
        for cache, new, format in ((self.k, k, self.k_format), (self.v, v, self.v_format)):
            rounded = KV_FORMATS[format].unpack(KV_FORMATS[format].pack(new))
            for s in step.segments:
                first, end = s.position // self.every, (s.position + s.rows) // self.every
                rows = rounded[np.arange(first + 1, end + 1) * self.every - 1 - s.position + s.row]
                cache[s.slot, :, first:end] = rows.transpose(1, 0, 2)
        return self


def _cut(step: Step, rows: int) -> Step:
    """The step with at most `rows` rows of each segment that is not committed."""
    segments = (s if s.commit else s._replace(rows=min(rows, s.rows)) for s in step.segments)
    return replace(step, segments=tuple(segments))


class Interpreter:
    """Holds a graph's weights and states. weights: the numpy f32 value of a weight or const op.

    slots: lanes of the batch; context: tokens a slot can hold. `states`: name -> array or KvCache.
    Of rows that a step does not commit, it keeps the recurrent states after 0, 1, ... of them: a replay takes one of these.
    beside: graphs that run on the same states and weights, such as a draft's.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Callable[[Op], np.ndarray],
        slots: int = 1,
        context: int = 4096,
        beside: Sequence[Graph] = (),
    ):
        self.graph = graph
        self._sizes = {"S": slots, "C": context}
        self._sources: dict[Value, object] = {}
        self._state_names: dict[Value, str] = {}
        # (state, slot) -> its states after each waiting row
        self._after: dict[tuple[Value, int], list[np.ndarray]] = {}
        for op in (op for g in (graph, *beside) for op in g.ops if op.is_source and op.output not in self._sources):
            if op.is_state:
                self._sources[op.output] = self._empty_state(op)
                self._state_names[op.output] = op.attrs["name"]
            else:
                self._sources[op.output] = weights(op)

    @property
    def states(self) -> dict[str, object]:
        return {name: self._sources[value] for value, name in self._state_names.items()}

    def run(self, step: Step, graph: Graph | None = None) -> list[np.ndarray]:
        """One step of the graph, or of one beside it: its outputs; states move on."""
        graph = graph or self.graph
        results, env = self.trace(step, graph)
        waiting = [s for s in step.segments if not s.commit]
        for state, new in graph.updates.items():
            carried = env[new]
            for s in step.segments:
                self._after.pop((state, s.slot), None)
            if waiting and isinstance(carried, np.ndarray):
                shorter = [
                    self._carried(graph, state, env, _cut(step, rows))
                    for rows in range(max(s.rows for s in waiting) + 1)
                ]
                carried = carried.copy()
                for s in waiting:
                    self._after[state, s.slot] = [after[s.slot] for after in shorter[: s.rows + 1]]
                    carried[s.slot] = shorter[0][s.slot]
            self._sources[state] = carried
        return results

    def _carried(self, graph: Graph, state: Value, env: dict[Value, object], step: Step) -> np.ndarray:
        """A recurrent state after another step than the one that `env` comes from: `step` has fewer of its rows."""
        op = next(op for op in graph.walk() if graph.updates[state] in op.outputs and not op.is_region)
        spec = definition(op.kind)
        assert spec.state, f"{op} carries no state on"
        return spec.meaning(*(env[v] for v in op.inputs), **op.attrs, step=step)[spec.state[1]]

    def trace(self, step: Step, graph: Graph | None = None) -> tuple[list[np.ndarray], dict[Value, object]]:
        """The outputs and every value of the step, without carrying recurrent states on (KV writes do happen)."""
        graph = graph or self.graph
        env = {value: self._replayed(value, step) for value in self._sources}
        for value in graph.inputs:
            env[value] = step.tokens
        for op in graph.walk():
            if not op.is_region and not op.is_source:
                self._execute(op, env, step)
        return [np.asarray(env[v]) for v in graph.outputs], env

    def _replayed(self, value: Value, step: Step) -> object:
        """What a step reads of a source: recurrent states with the rows of before that count."""
        content = self._sources[value]
        replays = [s for s in step.segments if s.replay and (value, s.slot) in self._after]
        if replays and isinstance(content, np.ndarray):
            content = content.copy()
            for s in replays:
                content[s.slot] = self._after[value, s.slot][s.replay]
        return content

    def _execute(self, op: Op, env: dict[Value, object], step: Step) -> None:
        spec = definition(op.kind)
        extra = {"step": step} if spec.wants_step else {}
        result = spec.meaning(*(env[v] for v in op.inputs), **op.attrs, **extra)
        for value, array in zip(op.outputs, result if isinstance(result, tuple) else (result,)):
            env[value] = array

    def _empty_state(self, op: Op):
        type = op.output.type
        if type.dtype != "kv":
            return np.zeros(tuple(n if isinstance(n, int) else self._sizes[n] for n in type.shape), np.float32)
        places = type.places(self._sizes["C"])
        zeros = np.zeros((self._sizes["S"], type.size(1), places, type.size(3)), np.float32)
        return KvCache(zeros, zeros.copy(), op.attrs["k_format"], op.attrs["v_format"], type.every)

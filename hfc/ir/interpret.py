"""Runs a graph, fused or not, on numpy: the meaning that every pass and kernel is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hfc.formats import KV_FORMATS
from hfc.ir.graph import SOURCES, Graph, Op, Value
from hfc.ir.ops import definition
from hfc.step import Step


@dataclass(frozen=True)
class KvCache:
    """Keys and values, f32 [slots, kv_heads, context, head], rounded through their formats when written."""

    k: np.ndarray
    v: np.ndarray
    k_format: str
    v_format: str

    def append(self, k: np.ndarray, v: np.ndarray, step: Step) -> "KvCache":
        """k, v: [T, kv_heads, head]. Writes in place: positions of the step are not read before."""
        for cache, new, format in ((self.k, k, self.k_format), (self.v, v, self.v_format)):
            rounded = KV_FORMATS[format].unpack(KV_FORMATS[format].pack(new))
            for s in step.segments:
                rows = rounded[s.row : s.row + s.rows]
                cache[s.slot, :, s.position : s.position + s.rows] = rows.transpose(1, 0, 2)
        return self


class Interpreter:
    """Holds a graph's weights and states. weights: the numpy f32 value of a weight or const op.

    slots: lanes of the batch; context: tokens a slot can hold. `states`: name -> array or KvCache.
    """

    def __init__(self, graph: Graph, weights: Callable[[Op], np.ndarray], slots: int = 1, context: int = 4096):
        self.graph = graph
        self._sizes = {"S": slots, "C": context}
        self._sources: dict[Value, object] = {}
        self._state_names: dict[Value, str] = {}
        for op in graph.ops:
            if op.kind == "state":
                self._sources[op.output] = self._empty_state(op)
                self._state_names[op.output] = op.attrs["name"]
            elif op.kind in ("weight", "const"):
                self._sources[op.output] = weights(op)

    @property
    def states(self) -> dict[str, object]:
        return {name: self._sources[value] for value, name in self._state_names.items()}

    def run(self, step: Step) -> list[np.ndarray]:
        """One step: the graph's outputs; states move on."""
        results, env = self.trace(step)
        for state, new in self.graph.updates.items():
            self._sources[state] = env[new]
        return results

    def trace(self, step: Step) -> tuple[list[np.ndarray], dict[Value, object]]:
        """The outputs and every value of the step, without carrying recurrent states on (KV writes do happen)."""
        env = dict(self._sources)
        for value in self.graph.inputs:
            env[value] = step.tokens
        for op in self.graph.walk():
            if op.kind != "kernel" and op.kind not in SOURCES:
                self._execute(op, env, step)
        return [env[v] for v in self.graph.outputs], env

    def _execute(self, op: Op, env: dict[Value, object], step: Step) -> None:
        spec = definition(op.kind)
        extra = {"step": step} if spec.wants_step else {}
        result = spec.meaning(*(env[v] for v in op.inputs), **op.attrs, **extra)
        for value, array in zip(op.outputs, result if isinstance(result, tuple) else (result,)):
            env[value] = array

    def _empty_state(self, op: Op):
        shape = tuple(self._sizes.get(n, n) for n in op.output.type.shape)
        if op.output.type.dtype != "kv":
            return np.zeros(shape, np.float32)
        slots, heads, context, head = shape
        zeros = np.zeros((slots, heads, context, head), np.float32)
        return KvCache(zeros, zeros.copy(), op.attrs["k_format"], op.attrs["v_format"])

"""Builds a graph op by op, typed as it grows: the only way that values come into being outside the text parser."""

from __future__ import annotations

from typing import Any

from hfc.base.diagnostics import HfcError, Span
from hfc.formats.recipe import Recipe
from hfc.ir.element import is_row_value
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.opdef import IN_MEMORY, OpDef
from hfc.ir.ops import definition


class GraphBuilder:
    """Collects ops in order. Values are numbered; weights, states and constants are made once per name or recipe.

    beside: the builder of a graph that runs beside this one; a source of both is the same value in both.
    prefix: of the other values' names.  is_chained: a cache may be written several times in a step, one write after the other."""

    def __init__(self, name: str, beside: GraphBuilder | None = None, prefix: str = "", is_chained: bool = False):
        self.graph = Graph(name, [], [], [])
        self._beside, self._prefix, self._is_chained = beside, prefix, is_chained
        self._sources: dict[Any, Value] = {}
        self._count = 0
        self._computed: set[Value] = set()  # what is not a weight, or a weight with arithmetic that its recipe can do

    def input(self, name: str, dtype: str, shape: tuple) -> Value:
        value = Value(name, TensorType(dtype, tuple(shape)))
        self.graph.inputs.append(value)
        return value

    def weight(self, name: str, format: str, shape: tuple, recipe: Recipe, span: Span | None = None) -> Value:
        return self._source("weight", name, TensorType(format, tuple(shape)), {"name": name, "recipe": recipe}, span)

    def const(self, recipe: Recipe, shape: tuple, span: Span | None = None) -> Value:
        return self._source("const", recipe, TensorType("f32", tuple(shape)), {"recipe": recipe}, span)

    def state(self, name: str, type: TensorType, span: Span | None = None) -> Value:
        """type: kv[S, kv_heads, C, head] for a KV cache, f32[S, ...] for anything else."""
        attrs = definition("state").complete({"name": name})
        return self._source("state", name, type, attrs, span)

    def _source(self, kind: str, key: Any, type: TensorType, attrs: dict, span: Span | None) -> Value:
        if (kind, key) not in self._sources:
            known = self._beside and self._beside._sources.get((kind, key))
            value = known or self._value(type)
            self.graph.ops.append(Op(kind, (), (value,), attrs, span=span))
            self._sources[kind, key] = value
        found = self._sources[kind, key]
        if found.type != type:
            raise HfcError(f"{kind} {key}: declared as {found.type} and as {type}", span)
        return found

    def op(self, kind: str, *inputs: Value, span: Span | None = None, **attrs: Any) -> Value | tuple[Value, ...]:
        """Append an op; returns its result, or the tuple of its results."""
        spec = definition(kind)
        self._check_in_memory(spec, inputs, span)
        try:
            attrs = spec.complete(attrs)
            types = spec.infer(tuple(v.type for v in inputs), attrs)
        except HfcError as error:
            raise HfcError(error.message, error.span or span, error.hint) from error
        outputs = tuple(self._value(t) for t in types)
        self.graph.ops.append(Op(kind, tuple(inputs), outputs, attrs, span=span))
        if not spec.fold or inputs[0] in self._computed or is_row_value(inputs[0]):
            self._computed.update(outputs)
        if spec.state:
            self._carry(inputs[spec.state[0]], outputs[spec.state[1]], span)
        return outputs[0] if len(outputs) == 1 else outputs

    def _check_in_memory(self, spec: OpDef, inputs: tuple[Value, ...], span: Span | None) -> None:
        for way, name, value in zip(spec.reads, spec.operand_names, inputs):
            if way in IN_MEMORY and value in self._computed:
                raise HfcError(
                    f"{spec.kind}: {name} must be a weight or a table, found {value.type} that the graph computes",
                    span,
                    "compute it in the weight table: w + 1, w * 2, -w and exp(w) are made when the model is loaded",
                )

    def latest(self, state: Value, read_only: bool = False) -> Value:
        """The cache as the ops so far have left it, where an op only reads it or may carry it on again."""
        is_cache = state.type.dtype == "kv"
        return self.graph.updates.get(state, state) if is_cache and (read_only or self._is_chained) else state

    def _carry(self, state: Value, new: Value, span: Span | None) -> None:
        if state in self.graph.updates:
            raise HfcError("a state may be carried on only once a step", span)
        first = next((s for s, latest in self.graph.updates.items() if latest is state), state)
        self.graph.updates[first] = new

    def finish(self, *outputs: Value) -> Graph:
        self.graph.outputs.extend(outputs)
        return self.graph

    def _value(self, type: TensorType) -> Value:
        self._count += 1
        return Value(f"{self._prefix}{self._count}", type)

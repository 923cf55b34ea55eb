"""A model file + a config + a checkpoint's inventory -> the IR graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.frontend import syntax
from hfc.frontend.calls import Handle, Operations
from hfc.frontend.config import settings_of
from hfc.frontend.evaluate import FUNCTIONS, Scope, show
from hfc.frontend.model import Model
from hfc.frontend.recipes import Inventory
from hfc.frontend.weights import WeightTable
from hfc.ir.build import GraphBuilder
from hfc.ir.graph import Graph, TensorType, Value

MAX_CALL_DEPTH = 32
LAST_HIDDEN = "last_hidden"  # a tap that every model has: what its head reads


def build_graph(
    model: Model,
    config: Mapping[str, Any],
    source: str,
    checkpoint: Inventory | None = None,
    default_format: str = "bf16",
    taps: Sequence[str] = (),
) -> Graph:
    """tokens i32[T] -> logits f32[T, vocab], then the asked taps ("hidden[3]", "last_hidden"), each [T, ...].

    config: config.json ("hf") or GGUF metadata ("gguf"). Without a checkpoint every matrix has default_format.
    Raises HfcError with the place in the model file for anything that does not fit together.
    """
    settings = settings_of(model.syntax, config, source, checkpoint)
    weights = WeightTable(model.syntax, settings, source, checkpoint, default_format)
    operations = Operations(GraphBuilder(model.name))
    scope = _GraphScope(model.syntax, settings, weights, operations, {}, found_taps := {}, depth=0)
    function = model.syntax.graph
    if len(function.parameters) != 1:
        raise HfcError("the graph takes one parameter, the tokens", function.span)
    scope.assign(function.parameters[0], operations.builder.input(function.parameters[0], "i32", ("T",)), function.span)
    results = scope.run(function)
    if not isinstance(results, Value):
        raise HfcError(f"the graph must return one tensor, the logits; found {_shown(results)}", function.span)
    found_taps[LAST_HIDDEN] = _head_input(operations.builder.graph, results, function.span)
    for tap in taps:
        if tap not in found_taps:
            raise unknown("tap", tap, found_taps, function.span)
    weights.check_all_read()
    graph = operations.builder.finish(results, *(found_taps[tap] for tap in taps))
    read = {value for op in graph.ops for value in op.inputs}
    return graph.with_ops(op for op in graph.ops if op.kind != "weight" or op.output in read)


def _head_input(graph: Graph, logits: Value, span: Span) -> Value:
    """The rows that the last matrix multiplies: the model's last hidden state, normed."""
    producers, value = graph.producers(), logits
    while (op := producers.get(value)) is not None:
        if op.kind == "linear":
            return op.inputs[0]
        value = next((v for v in op.inputs if v.type.shape[:1] == ("T",)), None)
    raise HfcError("the graph's logits come from no linear", span)


class _GraphScope(Scope):
    """One running function: its variables, and the model's settings, weights and functions behind them."""

    def __init__(
        self,
        model: syntax.ModelSyntax,
        settings: Mapping[str, Any],
        weights: WeightTable,
        operations: Operations,
        layer_names: Mapping[str, int],
        taps: dict[str, Value],
        depth: int,
    ):
        self._model = model
        self._settings = settings
        self._weights = weights
        self._operations = operations
        self._layer = dict(layer_names)  # loop variables, for the names of states
        self._taps = taps
        self._depth = depth
        self._variables: dict[str, Any] = {}

    # statements -------------------------------------------------------------------------------------------------

    def run(self, function: syntax.Function) -> Any:
        for statement in function.body:
            if isinstance(statement, syntax.Return):
                values = [self.evaluate(v) for v in statement.values]
                return values[0] if len(values) == 1 else values
            self._execute(statement)
        raise HfcError(f"{function.name} ends without `return`", function.span)

    def assign(self, name: str, value: Any, span: Span) -> None:
        if name in self._settings or name in self._weights.names:
            kind = "setting" if name in self._settings else "weight"
            raise HfcError(f"{name!r} is already a {kind}; choose another name", span)
        self._variables[name] = value

    def _execute(self, statement: syntax.Statement) -> None:
        if isinstance(statement, syntax.Assign):
            self._assign(statement)
        elif isinstance(statement, syntax.State):
            self.assign(statement.name, self._state(statement), statement.span)
        elif isinstance(statement, syntax.For):
            self._loop(statement)
        elif isinstance(statement, syntax.Tap):
            name = f"{statement.name}[{self.evaluate(statement.index)}]"
            self._taps[name] = self.evaluate(statement.value)
        else:
            raise HfcError("`return` may only stand at the end of a function", statement.span)

    def _assign(self, statement: syntax.Assign) -> None:
        values: Sequence[Any] = [self.evaluate(v) for v in statement.values]
        if len(values) == 1 and len(statement.targets) > 1 and isinstance(values[0], (list, tuple)):
            values = values[0]
        if len(values) != len(statement.targets):
            counts = f"{len(statement.targets)} names on the left, {len(values)} values on the right"
            raise HfcError(counts, statement.span)
        for name, value in zip(statement.targets, values):
            self.assign(name, value, statement.span)

    def _loop(self, statement: syntax.For) -> None:
        over = self.evaluate(statement.over)
        if not isinstance(over, (int, list, tuple)) or isinstance(over, bool):
            raise HfcError(f"`for` runs over a count or a list, found {_shown(over)}", statement.over.span)
        for item in range(over) if isinstance(over, int) else over:
            self.assign(statement.variable, item, statement.span)
            self._layer[statement.variable] = item
            for inner in statement.body:
                self._execute(inner)
            del self._variables[statement.variable], self._layer[statement.variable]

    def _state(self, statement: syntax.State) -> Handle:
        """`f32[channels, taps - 1]` or `kv_cache(kv_heads, head)`; one lane a slot."""
        node = statement.type
        is_array = isinstance(node, syntax.Index) and _is_name(node.value, "f32")
        is_cache = isinstance(node, syntax.Call) and _is_name(node.function, "kv_cache") and len(node.arguments) == 2
        sizes = [self.evaluate(n) for n in (node.items if is_array else node.arguments if is_cache else ())]
        if not sizes or not all(isinstance(n, int) and n > 0 for n in sizes):
            raise HfcError("a state is f32[sizes] or kv_cache(heads, head)", node.span)
        type = TensorType("f32", ("S", *sizes)) if is_array else TensorType("kv", ("S", sizes[0], "C", sizes[1]))
        name = ".".join([*(f"layers.{i}" for i in self._layer.values()), statement.name])
        return Handle(self._operations.builder.state(name, type, statement.span))

    # expressions ------------------------------------------------------------------------------------------------

    def name(self, node: syntax.Name) -> Any:
        name = node.name
        if name in self._variables:
            return self._variables[name]
        if name in self._settings:
            return self._settings[name]
        if name in self._weights.names:
            return self._weight(node)
        known = [*self._variables, *self._settings, *self._weights.names]
        raise unknown("name", name, known, node.span)

    def _weight(self, node: syntax.Name) -> Value | None:
        variable = self._weights.index_variable(node.name)
        layer = None
        if variable is not None:
            layer = self._variables.get(variable)
            if not isinstance(layer, int):
                raise HfcError(
                    f"{node.name} is a weight of layer {variable}, and no {variable} is known here",
                    node.span,
                    f"use it in `for {variable} in layers` or in a layer function with the parameter {variable}",
                )
        weight = self._weights.resolve(node.name, layer, node.span)
        if weight is None:
            return None
        return self._operations.builder.weight(weight.name, weight.format, weight.shape, weight.recipe, weight.span)

    def call(self, node: syntax.Call) -> Any:
        name = node.function.name if isinstance(node.function, syntax.Name) else None
        if name is None or name in self._variables or name in self._settings:
            chosen = self.evaluate(node.function)
            if not isinstance(chosen, str):
                raise HfcError(f"only functions can be called, this is {_shown(chosen)}", node.function.span)
            name = chosen
        function = self._model.functions.get(name)
        if function is None and name in FUNCTIONS:
            return super().call(node)
        if function is None and name not in self._operations.names:
            known = [*self._model.functions, *FUNCTIONS, *self._operations.names]
            raise unknown("function or op", name, known, node.function.span)
        arguments = [self.evaluate(a) for a in node.arguments]
        keywords = {key: self.evaluate(value) for key, value in node.keywords}
        if function is None:
            return self._operations.call(name, arguments, keywords, node.span)
        return self._run_function(function, arguments, keywords, node.span)

    def _run_function(self, function: syntax.Function, arguments: list, keywords: dict, span: Span) -> Any:
        bound = dict(zip(function.parameters, arguments), **keywords)
        if len(arguments) + len(keywords) != len(function.parameters) or set(bound) != set(function.parameters):
            raise HfcError(f"{function.name} takes ({', '.join(function.parameters)})", span)
        if self._depth == MAX_CALL_DEPTH:
            raise HfcError(f"{function.name} calls itself without end", span)
        inner = _GraphScope(
            self._model, self._settings, self._weights, self._operations, self._layer, self._taps, self._depth + 1
        )
        for name, value in bound.items():
            inner.assign(name, value, function.span)
        return inner.run(function)

    def unary(self, node: syntax.Unary, value: Any) -> Any:
        if isinstance(value, Value) and node.operator == "-":
            return self._operations.call("neg", [value], {}, node.span)
        return super().unary(node, value)

    def binary(self, node: syntax.Binary, left: Any, right: Any) -> Any:
        is_tensor = isinstance(left, Value), isinstance(right, Value)
        if not any(is_tensor) or None in (left, right):
            return super().binary(node, left, right)
        return self._operations.arithmetic(node.operator, left, right, node.span)


def _is_name(node: syntax.Expression, name: str) -> bool:
    return isinstance(node, syntax.Name) and node.name == name


def _shown(value: Any) -> str:
    return str(value.type) if isinstance(value, Value) else show(value)

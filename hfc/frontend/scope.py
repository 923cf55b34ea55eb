"""A running function of a model file: statements and expressions on tensors become ops of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.formats.recipe import DRAFT_TENSORS
from hfc.frontend import syntax
from hfc.frontend.calls import Handle, Operations
from hfc.frontend.evaluate import FUNCTIONS, Scope, show, with_layer
from hfc.frontend.near import ON_TENSORS, unknown_call
from hfc.frontend.weights import WeightTable
from hfc.ir.graph import TensorType, Value

MAX_CALL_DEPTH = 32
STATE_HINT = "an op carries it on and reads it: attention(..., kv, ...), causal_conv(u, w, window), recall(state)"
TARGET = "target."  # before the names of what belongs to the target, in a draft's functions


@dataclass(frozen=True)
class DraftTarget:
    """What a draft may use of its target: weights by name and, where its rows are at hand, its taps: "hidden[3]" -> value."""

    weights: WeightTable
    taps: Mapping[str, Value]

    def named(self, name: str, operations: Operations, span: Span) -> Any:
        """A weight, a tap, or the list of all taps of one name."""
        if name in self.taps:
            return self.taps[name]
        listed = [self.taps[f"{name}[{i}]"] for i in range(len(self.taps)) if f"{name}[{i}]" in self.taps]
        if listed:
            return listed
        if name not in self.weights.names:
            known = dict.fromkeys(tap.partition("[")[0] for tap in self.taps)
            raise unknown("weight or tap of the target", name, [*known, *self.weights.names], span)
        weight = self.weights.resolve(name, None, span)
        return weight and operations.builder.weight(
            weight.name, weight.format, weight.shape, weight.recipe, weight.span
        )


@dataclass(frozen=True)
class Surroundings:
    """What functions of one model run with. taps: filled by them.

    target: of a draft.  owner: of a draft, what the names of its weights and states begin with."""

    model: syntax.ModelSyntax
    settings: Mapping[str, Any]
    weights: WeightTable
    operations: Operations
    target: DraftTarget | None = None
    owner: str = ""
    taps: dict[str, Value] = field(default_factory=dict)


class GraphScope(Scope):
    """One running function: its variables, and the model's settings, weights and functions behind them."""

    def __init__(self, around: Surroundings, layer_names: Mapping[str, int] | None = None, depth: int = 0):
        self._around = around
        self._layer = dict(layer_names or {})  # loop variables, for the names of states
        self._depth = depth
        self._variables: dict[str, Any] = {}

    # statements -------------------------------------------------------------------------------------------------

    def run(self, function: syntax.FunctionSyntax, returns: bool = True) -> Any:
        """What the function returns; nothing where `returns` is False and it ends without."""
        for statement in function.body:
            try:
                if isinstance(statement, syntax.Return):
                    values = [self.evaluate(v) for v in statement.values]
                    return values[0] if len(values) == 1 else values
                self._execute(statement)
            except HfcError as error:
                raise with_layer(error, statement, self._around.settings) from None
        if returns:
            raise HfcError(f"{function.name} ends without `return`", function.span)
        return None

    def assign(self, name: str, value: Any, span: Span) -> None:
        if name in self._around.settings or name in self._around.weights.names:
            kind = "setting" if name in self._around.settings else "weight"
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
            self._around.taps[name] = self.evaluate(statement.value)
        elif isinstance(statement, syntax.Perform):
            self.evaluate(statement.call)
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
        """`f32[channels, taps - 1]`, `kv_cache(kv_heads, head)` or, with a place for one position of so many, `kv_cache(kv_heads, head, every)`;
        one lane a slot."""
        node = statement.type
        is_array = isinstance(node, syntax.Index) and _is_name(node.value, "f32")
        is_cache = (
            isinstance(node, syntax.CallExpression)
            and _is_name(node.function, "kv_cache")
            and len(node.arguments) in (2, 3)
        )
        sizes = [self.evaluate(n) for n in (node.items if is_array else node.arguments if is_cache else ())]
        if not sizes or not all(isinstance(n, int) and n > 0 for n in sizes):
            found = f", found {_shown(sizes)}" if sizes else ""
            raise HfcError(f"a state is f32[sizes] or kv_cache(heads, head){found}", node.span)
        places = f"C{sizes[2]}" if len(sizes) > 2 and sizes[2] > 1 else "C"
        type = TensorType("f32", ("S", *sizes)) if is_array else TensorType("kv", ("S", sizes[0], places, sizes[1]))
        name = self._around.owner + ".".join([*(f"layers.{i}" for i in self._layer.values()), statement.name])
        return Handle(self._around.operations.builder.state(name, type, statement.span))

    # expressions ------------------------------------------------------------------------------------------------

    def name(self, node: syntax.Name) -> Any:
        name = node.name
        if name in self._variables:
            return self._variables[name]
        if name in self._around.settings:
            return self._around.settings[name]
        if name in self._around.weights.names:
            return self._weight(node)
        if name.startswith(TARGET) and self._around.target:
            return self._around.target.named(name.removeprefix(TARGET), self._around.operations, node.span)
        known = [*self._variables, *self._around.settings, *self._around.weights.names]
        raise unknown("name", name, known, node.span)

    def index(self, node: syntax.Index) -> Any:
        """Also several elements of a list, by a list of places."""
        value, items = self.evaluate(node.value), [self.evaluate(i) for i in node.items]
        if not isinstance(value, (list, tuple)) or len(items) != 1 or not isinstance(items[0], (list, tuple)):
            return super().index(node)
        for place in items[0]:
            if type(place) is not int or not 0 <= place < len(value):
                raise HfcError(f"index {show(place)} is outside of a list of {len(value)}", node.span)
        return [value[place] for place in items[0]]

    def _weight(self, node: syntax.Name) -> Value | None:
        variable = self._around.weights.index_variable(node.name)
        layer = None
        if variable is not None:
            layer = self._variables.get(variable)
            if not isinstance(layer, int):
                raise HfcError(
                    f"{node.name} is a weight of layer {variable}, and no {variable} is known here",
                    node.span,
                    f"use it in `for {variable} in layers` or in a layer function with the parameter {variable}",
                )
        weight = self._around.weights.resolve(node.name, layer, node.span)
        if weight is None:
            return None
        name, recipe = self._around.owner + weight.name, weight.recipe
        if self._around.owner:
            recipe = recipe.of(DRAFT_TENSORS)
        return self._around.operations.builder.weight(name, weight.format, weight.shape, recipe, weight.span)

    def call(self, node: syntax.CallExpression) -> Any:
        name = node.function.name if isinstance(node.function, syntax.Name) else None
        if name is None or name in self._variables or name in self._around.settings:
            chosen = self.evaluate(node.function)
            if not isinstance(chosen, str):
                raise HfcError(f"only functions can be called, this is {_shown(chosen)}", node.function.span)
            name = chosen
        function = self._around.model.functions.get(name)
        on_both = name in FUNCTIONS and name in self._around.operations.names  # sqrt
        if (
            function is None
            and name in FUNCTIONS
            and not (on_both and any(map(_holds_tensor, map(self.evaluate, node.arguments))))
        ):
            return self._call_on_numbers(name, node)
        if function is None and name not in self._around.operations.names:
            known = [*self._around.model.functions, *FUNCTIONS, *self._around.operations.names]
            raise unknown_call(name, known, node.function.span)
        arguments = [self.evaluate(a) for a in node.arguments]
        keywords = {key: self.evaluate(value) for key, value in node.keywords}
        if function is None:
            return self._around.operations.call(name, arguments, keywords, node.span)
        return self._run_function(function, arguments, keywords, node.span)

    def _call_on_numbers(self, name: str, node: syntax.CallExpression) -> Any:
        values = [self.evaluate(a) for a in node.arguments]
        if any(map(_holds_tensor, values)):
            shown = ", ".join(map(_shown, values))
            raise HfcError(f"{name} works on numbers, not on tensors: {name}({shown})", node.span, ON_TENSORS.get(name))
        return self._arithmetic(FUNCTIONS[name], values, node.span)

    def truth(self, value: Any, span: Span) -> bool:
        if _holds_tensor(value):
            raise HfcError(
                f"{_shown(value)} is neither true nor false: conditions are decided when the graph is built, without its numbers",
                span,
            )
        return super().truth(value, span)

    def _run_function(self, function: syntax.FunctionSyntax, arguments: list, keywords: dict, span: Span) -> Any:
        bound = dict(zip(function.parameters, arguments), **keywords)
        if len(arguments) + len(keywords) != len(function.parameters) or set(bound) != set(function.parameters):
            raise HfcError(f"{function.name} takes ({', '.join(function.parameters)})", span)
        if self._depth == MAX_CALL_DEPTH:
            raise HfcError(f"{function.name} calls itself without end", span)
        inner = GraphScope(self._around, self._layer, self._depth + 1)
        for name, value in bound.items():
            inner.assign(name, value, function.span)
        return inner.run(function)

    def unary(self, node: syntax.Unary, value: Any) -> Any:
        if isinstance(value, Value) and node.operator == "-":
            return self._around.operations.call("neg", [value], {}, node.span)
        if isinstance(value, Handle) and node.operator == "-":
            raise HfcError(f"a state has no arithmetic, found -{_shown(value)}", node.span, STATE_HINT)
        return super().unary(node, value)

    def binary(self, node: syntax.Binary, left: Any, right: Any) -> Any:
        if isinstance(left, Handle) or isinstance(right, Handle):
            found = f"{_shown(left)} {node.operator} {_shown(right)}"
            raise HfcError(f"a state has no arithmetic, found {found}", node.span, STATE_HINT)
        is_tensor = isinstance(left, Value), isinstance(right, Value)
        if not any(is_tensor) or (None in (left, right) and node.operator in ("==", "!=")):
            return super().binary(node, left, right)
        return self._around.operations.arithmetic(node.operator, left, right, node.span)


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, (Value, Handle)) or isinstance(value, (list, tuple)) and any(map(_holds_tensor, value))


def _is_name(node: syntax.Expression, name: str) -> bool:
    return isinstance(node, syntax.Name) and node.name == name


def _shown(value: Any) -> str:
    if isinstance(value, Handle):
        return f"the state {value.value.type}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value.type) if isinstance(value, Value) else show(value)

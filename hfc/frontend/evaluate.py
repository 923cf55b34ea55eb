"""Expressions of the model language -> Python numbers, strings, lists; scopes add weights or IR values on top."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist
from typing import Any

from hfc.base.diagnostics import HfcError, Span
from hfc.base.numbers import bounded_operator, plus, power
from hfc.frontend import syntax

MOST_ITEMS = 1 << 16  # of a list that is made


def repeated(item: Any, count: int) -> list:
    """[item, item, ...]"""
    if not 0 <= count <= MOST_ITEMS:
        raise ValueError(f"a list of {count} items")
    return [item] * count


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": plus, "-": bounded_operator(operator.sub), "*": bounded_operator(operator.mul), "/": bounded_operator(operator.truediv),
    "//": bounded_operator(operator.floordiv), "%": bounded_operator(operator.mod), "**": power,
}  # fmt: skip
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "in": lambda item, items: item in items,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int, "sqrt": math.sqrt, "log": math.log, "min": min, "max": max, "len": len, "normal_quantile": NormalDist().inv_cdf, "repeated": repeated, "moved": lambda items, by: [item + by for item in items],
}  # fmt: skip
LOGICAL = ("and", "or", "not", *COMPARISONS)


class Absent(HfcError):
    """A config key or a tensor that is not there; `or` goes on to its right side."""


class Scope:
    """Evaluates expressions. A subclass says what names, calls and operators on its own values mean."""

    def name(self, node: syntax.Name) -> Any:
        raise NotImplementedError

    def call(self, node: syntax.CallExpression) -> Any:
        if isinstance(node.function, syntax.Name) and node.function.name in FUNCTIONS:
            arguments = [self.evaluate(a) for a in node.arguments]
            return self._arithmetic(FUNCTIONS[node.function.name], arguments, node.span)
        raise HfcError("only " + ", ".join(FUNCTIONS) + " may be called here", node.span)

    def text(self, node: syntax.Literal) -> Any:
        return node.value

    def unary(self, node: syntax.Unary, value: Any) -> Any:
        if node.operator == "not":
            return not self.truth(value, node.span)
        return self._arithmetic(operator.neg, [value], node.span)

    def binary(self, node: syntax.Binary, left: Any, right: Any) -> Any:
        function = ARITHMETIC.get(node.operator) or COMPARISONS[node.operator]
        return self._arithmetic(function, [left, right], node.span)

    def index(self, node: syntax.Index) -> Any:
        value, items = self.evaluate(node.value), [self.evaluate(i) for i in node.items]
        if not isinstance(value, (list, tuple, str)) or len(items) != 1 or not isinstance(items[0], int):
            raise HfcError("only a list can be indexed, by one whole number", node.span)
        if not 0 <= items[0] < len(value):
            raise HfcError(f"index {items[0]} is outside of a list of {len(value)}", node.span)
        return value[items[0]]

    def evaluate(self, node: syntax.Expression) -> Any:
        match node:
            case syntax.Literal():
                return self.text(node) if isinstance(node.value, str) else node.value
            case syntax.Name():
                return self.name(node)
            case syntax.CallExpression():
                return self.call(node)
            case syntax.Index():
                return self.index(node)
            case syntax.ListOf():
                return [self.evaluate(item) for item in node.items]
            case syntax.Conditional():
                return self.conditional(node)
            case syntax.Unary():
                return self.unary(node, self.evaluate(node.operand))
            case syntax.Binary():
                return self._binary(node)
            case syntax.Slice():
                raise HfcError("a slice has meaning only after a weight's name in a weight table", node.span)

    def conditional(self, node: syntax.Conditional) -> Any:
        return self.evaluate(node.then if self._holds(node.condition) else node.otherwise)

    def truth(self, value: Any, span: Span) -> bool:
        """Does a value count as true where a condition stands?"""
        return bool(value)

    def _holds(self, node: syntax.Expression) -> bool:
        return self.truth(self.evaluate(node), node.span)

    def _binary(self, node: syntax.Binary) -> Any:
        if node.operator == "and":
            return self._holds(node.left) and self._holds(node.right)
        if node.operator == "or":
            if is_condition(node.left):
                return self._holds(node.left) or self._holds(node.right)
            left = self._or_null(node.left)
            return self.evaluate(node.right) if left is None else left
        with_null = isinstance(node.right, syntax.Literal) and node.right.value is None
        left = self._or_null(node.left) if with_null and node.operator in ("==", "!=") else self.evaluate(node.left)
        return self.binary(node, left, self.evaluate(node.right))

    def _or_null(self, node: syntax.Expression) -> Any:
        try:
            return self.evaluate(node)
        except Absent:
            return None

    def _arithmetic(self, function: Callable[..., Any], values: list, span: Span) -> Any:
        try:
            return function(*values)
        except (TypeError, AttributeError, LookupError):  # Python's own words would speak of its types
            shown = ", ".join(show(value)[:80] for value in values)
            raise HfcError(f"cannot compute this from {shown}: they do not go together", span) from None
        except (ValueError, ArithmeticError) as error:
            shown = ", ".join(show(value)[:80] for value in values)
            raise HfcError(f"cannot compute this from {shown}: {error}", span) from None


def is_condition(node: syntax.Expression) -> bool:
    """Does `or` after this mean logic (a comparison, not, and, or of such), not "if it is missing, then"?"""
    if isinstance(node, syntax.Binary) and node.operator == "or":
        return is_condition(node.left)
    return isinstance(node, (syntax.Binary, syntax.Unary)) and node.operator in LOGICAL


def with_layer(error: HfcError, node: Any, settings: Mapping[str, Any]) -> HfcError:
    """The error, with the hint that a list which it shows has a number for each layer, where an expression names one whole."""
    lists = {n: v for n, v in settings.items() if isinstance(v, (list, tuple)) and len(v) == settings.get("layers")}
    shown = [
        name for name in dict.fromkeys(names_in(node)) if name in lists and show(lists[name])[:80] in error.message
    ]
    if error.hint or not shown:
        return error
    hint = f"{shown[0]} is a list with a number for each layer: did you mean {shown[0]}[i]?"
    return HfcError(error.message, error.span, hint)


def show(value: Any) -> str:
    """A value as the language writes it."""
    if isinstance(value, (bool, type(None))):
        return str(value).lower().replace("none", "null")
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(show, value)) + "]"
    return str(value)


def parts_of(node: Any) -> Iterator[Any]:
    """An expression or a statement, and everything in it, from left to right."""
    if isinstance(node, (tuple, list)):
        for item in node:
            yield from parts_of(item)
    elif dataclasses.is_dataclass(node) and not isinstance(node, Span):
        yield node
        for item in vars(node).values():
            yield from parts_of(item)


def names_in(node: Any) -> list[str]:
    """All names that an expression mentions, evaluated or not."""
    return [part.name for part in parts_of(node) if isinstance(part, syntax.Name)]


def strings_in(node: Any) -> list[str]:
    """All strings that an expression holds."""
    return [part.value for part in parts_of(node) if isinstance(part, syntax.Literal) and isinstance(part.value, str)]

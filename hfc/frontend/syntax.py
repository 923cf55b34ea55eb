"""The syntax tree of a model file: frozen records, each with the place it came from."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Union

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import Span


@dataclass(frozen=True)
class Literal:
    """A number, a string, true, false or null."""

    value: Any
    span: Span


@dataclass(frozen=True)
class Name:
    """A name, or a dotted path into a config."""

    name: str
    span: Span


@dataclass(frozen=True)
class Unary:
    """operator: "-" or "not"."""

    operator: str
    operand: "Expression"
    span: Span


@dataclass(frozen=True)
class Binary:
    """operator: arithmetic, a comparison, "in", "and" or "or"."""

    operator: str
    left: "Expression"
    right: "Expression"
    span: Span


@dataclass(frozen=True)
class Conditional:
    """`then if condition else otherwise`"""

    condition: "Expression"
    then: "Expression"
    otherwise: "Expression"
    span: Span


@dataclass(frozen=True)
class ListOf:
    items: tuple["Expression", ...]
    span: Span


@dataclass(frozen=True)
class Slice:
    """`start : stop : step` of one axis; what is missing is None."""

    start: "Expression | None"
    stop: "Expression | None"
    step: "Expression | None"
    span: Span


@dataclass(frozen=True)
class Index:
    """`value[items]`: an element of a list, slices of a weight, or a type such as f32[heads, head]."""

    value: "Expression"
    items: tuple["Expression", ...]
    span: Span


@dataclass(frozen=True)
class CallExpression:
    function: "Expression"
    arguments: tuple["Expression", ...]
    keywords: tuple[tuple[str, "Expression"], ...]
    span: Span


Expression = Union[Literal, Name, Unary, Binary, Conditional, ListOf, Slice, Index, CallExpression]


@dataclass(frozen=True)
class Assign:
    targets: tuple[str, ...]
    values: tuple[Expression, ...]
    span: Span


@dataclass(frozen=True)
class State:
    name: str
    type: Expression
    span: Span


@dataclass(frozen=True)
class For:
    variable: str
    over: Expression
    body: tuple["Statement", ...]
    span: Span


@dataclass(frozen=True)
class Tap:
    """`tap value as name[index]`: a value that another model may ask for."""

    value: Expression
    name: str
    index: Expression
    span: Span


@dataclass(frozen=True)
class Perform:
    """A call that stands alone, for what it does to a state."""

    call: CallExpression
    span: Span


@dataclass(frozen=True)
class Return:
    values: tuple[Expression, ...]
    span: Span


Statement = Union[Assign, State, For, Tap, Perform, Return]


@dataclass(frozen=True)
class FunctionSyntax:
    """`layer name(parameters) { ... }`, or under the names "graph" and "observe" those."""

    name: str
    parameters: tuple[str, ...]
    body: tuple[Statement, ...]
    span: Span


@dataclass(frozen=True)
class SettingSyntax:
    """`name = other = value`, or per layer `name[index] = value`."""

    names: tuple[str, ...]
    index: str | None
    value: Expression
    span: Span


@dataclass(frozen=True)
class Config:
    """source: "hf" or "gguf"; names: model types or GGUF architectures it stands for."""

    source: str
    names: tuple[str, ...]
    settings: tuple[SettingSyntax, ...]
    requires: tuple[Expression, ...]
    ignored: tuple[str, ...]
    span: Span


@dataclass(frozen=True)
class Row:
    """One line of a weight table: several names share a shape; a column has one expression for each of them.

    format: None (the checkpoint's) or f32.  alias: another weight that stands in where `alias_if` holds.
    """

    names: tuple[str, ...]
    format: str | None
    shape: tuple[Expression, ...]
    alias: str | None
    alias_if: Expression | None
    columns: dict[str, tuple[Expression, ...]]  # "hf", "gguf"
    span: Span


@dataclass(frozen=True)
class Weights:
    """A weight table; index: the variable that names the layer, or None; where: the layers that have these weights."""

    index: str | None
    where: Expression | None
    rows: tuple[Row, ...]
    span: Span


@dataclass(frozen=True)
class ModelSyntax:
    name: str
    configs: tuple[Config, ...]
    weights: tuple[Weights, ...]
    ignored_tensors: dict[str, tuple[Expression, ...]]
    functions: dict[str, FunctionSyntax]
    graph: FunctionSyntax
    span: Span
    file: str = field(default="")
    observe: FunctionSyntax | None = None  # of a draft: what it takes from each step of its target

"""How an op is defined: everything that any part of hfc asks about an op stands in its `OpDef`, beside its numpy meaning.

A family's module declares an op by its role, and the role says which facts it must give:

    elementwise  one number from the numbers at the same place; c: the C expression
    view         elements under another index; element: prints one
    row_local    an element from a few of its row's (or, `neighbours`, of a neighbouring row's); element
    reduction    an element from a whole vector, the last axis of its first operand; element, with `Elements.reduced`
    root         what a kernel skeleton (`stem`) computes; flops
    source       no operands: a weight, a table, a state

A fact that is missing or does not fit the others fails when the op is registered, at import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError, unknown
from hfc.ir.element import PrintElement
from hfc.ir.graph import Op, TensorType

OPS: dict[str, "OpDef"] = {}

ROLES = ("elementwise", "view", "row_local", "reduction", "root", "source")
# What an operand may be and how it is read: "any" is a value of the step's rows or a vector that broadcasts; "vector" a weight or
# table of a few elements, f32, or what is computed from such; "taps" one that lies in memory; "matrix" a weight in its storage format, all of it once a step; "gathered" one row of it for each row of the step;
# "experts" the chosen experts' part of it; "table" a constant; "ids" whole numbers; "state" is carried on; "cache" is only read.
READS = ("rows", "any", "vector", "taps", "matrix", "gathered", "experts", "table", "ids", "state", "cache")
STORED = ("matrix", "gathered", "experts")  # a weight is read in its storage format
IN_MEMORY = (*STORED, "taps", "table")  # kernels address it: it must be a weight or a table, not computed in the graph
ROWS = ("T", "R")  # the first axis of what a step computes: rows of the step, rows whose logits are wanted

Flops = Callable[[Op], dict[str, int]]


@dataclass(frozen=True)
class OpDef:
    """kind, type rule (types, **attrs) -> type or tuple of types, numpy meaning.

    operands: fewest and most.  attrs: name -> default (inspect.Parameter.empty when required).  wants_step: the meaning takes `step=`.
    reads: of each operand, see READS.  element: prints one element of a result, see hfc.ir.element; None for roots and sources.
    selects: it only picks elements, so that every reader may do it again.  in_order: all of them, in the order in which they lie.  neighbours: it reads other rows of its first operand.
    beside: it reads few numbers, so that a matrix product's epilogue may compute it for another operand than its own result.
    stem: the skeleton that computes a root.  fold: the recipe op that it is on a weight alone.
    flops: of an op, by "row" and "context"; elementwise work hides behind memory and is not counted.
    state: (operand, result) for an op that carries a state on: which operand is the state, which result its new value.
    internal: passes make it; the model language does not have it.  collective: its operands are one value as each rank has it.
    """

    kind: str
    role: str
    rule: Callable[..., Any]
    operands: tuple[int, int]
    meaning: Callable[..., Any]
    attrs: dict[str, Any]
    wants_step: bool
    doc: str
    reads: tuple[str, ...]
    element: PrintElement | None = None
    selects: bool = False
    in_order: bool = False
    neighbours: bool = False
    beside: bool = False
    stem: str | None = None
    fold: str | None = None
    flops: Flops | None = None
    state: tuple[int, int] | None = None
    internal: bool = False
    collective: bool = False

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise AssertionError(f"op {self.kind}: {fault}")

    def _faults(self) -> list[str]:
        """What is missing of its facts, or contradicts another."""
        root, source = self.role == "root", self.role == "source"
        rules = {
            f"its role is {self.role!r}, not one of {', '.join(ROLES)}": self.role in ROLES,
            "its meaning has no docstring": bool(self.doc),
            f"{len(self.reads)} kinds for {self.operands[1]} operands": source or len(self.reads) == self.operands[1],
            f"operands are read as {self.reads}, known: {', '.join(READS)}": set(self.reads) <= set(READS),
            "it says nothing of how an element is printed in C": (self.element is None) == (root or source),
            "a root needs a stem and flops, others have none": (self.stem is not None and self.flops is not None) == root,
            "operands and parameters of its meaning have different names": source or _names(self.rule) == _names(self.meaning),
            "an operand is read as a state, or none, against `state`": source
            or [at for at, kind in enumerate(self.reads) if kind == "state"] == ([self.state[0]] if self.state else []),
        }  # fmt: skip
        return [fault for fault, holds in rules.items() if not holds]

    @property
    def elementwise(self) -> bool:
        return self.role == "elementwise"

    @property
    def is_view(self) -> bool:
        return self.role == "view"

    @property
    def reduces(self) -> bool:
        return self.role == "reduction"

    @property
    def operand_names(self) -> tuple[str, ...]:
        return _names(self.meaning)

    def complete(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """attrs with the defaults filled in; unknown or missing ones are errors."""
        for name in attrs:
            if name not in self.attrs:
                raise unknown(f"attribute of {self.kind}", name, self.attrs)
        missing = [n for n, d in self.attrs.items() if d is inspect.Parameter.empty and n not in attrs]
        if missing:
            raise HfcError(f"{self.kind}: attribute {missing[0]!r} is missing")
        return {name: attrs.get(name, default) for name, default in self.attrs.items()}

    def infer(self, types: tuple[TensorType, ...], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
        """The result types. Raises HfcError that shows the operand types."""
        low, high = self.operands
        if not low <= len(types) <= high:
            optional = [f"{name} (may be left out)" for name in self.operand_names[low:]]
            names = ", ".join([*self.operand_names[:low], *optional])
            raise HfcError(f"{self.kind}: takes {names}; got {len(types)} of them")
        for way, name, type in zip(self.reads, self.operand_names, types):
            self._check_operand(way, name, type)
        result = self.rule(*types, **attrs)
        return result if isinstance(result, tuple) else (result,)

    def _check_operand(self, way: str, name: str, type: TensorType) -> None:
        has_rows = bool(type.shape) and type.shape[0] in ROWS
        if way == "rows":
            require(has_rows, f"{self.kind}: {name} is {type}, which has no rows; it must be [T, ...]")
        elif way == "ids":
            require(
                has_rows and type.dtype == "i32",
                f"{self.kind}: {name} is {type}; it must be whole numbers, i32 [T, ...]",
            )
        elif way == "any":
            numbers = type.dtype not in ("i32", "kv") and type.shape[:1] != ("S",)
            require(numbers, f"{self.kind}: {name} is {type}; arithmetic needs numbers in f32 or a weight")
        elif way in ("state", "cache"):
            require(type.shape[:1] == ("S",), f"{self.kind}: {name} is {type}, not a state: state NAME = ...")
        else:
            require(not has_rows, f"{self.kind}: {name} is {type}; it must be a weight or a table")


Register = Callable[[Callable[..., Any]], OpDef]


def elementwise(
    rule: Callable[..., Any], *, c: str | Callable[[dict[str, Any]], str], fold: str | None = None
) -> Register:
    """c: the C expression with {0}, {1}, {attr}, or a function of the attributes that chooses it."""

    def element(elements, op, value, index, row):
        template = c if isinstance(c, str) else c(op.attrs)
        operands = [elements.operand(v, value, index, row) for v in op.inputs]
        return template.format(*operands, **{name: literal(v) for name, v in op.attrs.items() if v is not None})

    return _register("elementwise", rule, ("any",) * _operands(rule)[1], element=element, fold=fold)


def view(rule: Callable[..., Any], *, element: PrintElement, in_order: bool = False) -> Register:
    return _register("view", rule, ("rows",), element=element, selects=True, in_order=in_order)


def row_local(
    rule: Callable[..., Any],
    *,
    reads: tuple[str, ...],
    element: PrintElement,
    selects: bool = False,
    neighbours: bool = False,
    beside: bool = False,
    internal: bool = False,
    collective: bool = False,
) -> Register:
    return _register(
        "row_local",
        rule,
        reads,
        element=element,
        selects=selects,
        neighbours=neighbours,
        beside=beside,
        internal=internal,
        collective=collective,
    )


def reduction(rule: Callable[..., Any], *, reads: tuple[str, ...], element: PrintElement) -> Register:
    return _register("reduction", rule, reads, element=element)


def root(
    rule: Callable[..., Any],
    *,
    stem: str,
    reads: tuple[str, ...],
    flops: Flops,
    state: tuple[int, int] | None = None,
    internal: bool = False,
) -> Register:
    return _register("root", rule, reads, stem=stem, flops=flops, state=state, internal=internal)


def source(meaning: Callable[..., Any]) -> OpDef:
    """The type of a source is given, not inferred; its value comes from the checkpoint or the running batch."""

    def rule(**_attrs):
        raise HfcError("the type of a source is given, not inferred")

    return _register("source", rule, ())(meaning)


def _register(role: str, rule: Callable[..., Any], reads: tuple[str, ...], **facts: Any) -> Register:
    def register(meaning: Callable[..., Any]) -> OpDef:
        parameters = inspect.signature(meaning).parameters
        attrs = {n: p.default for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY and n != "step"}
        kind = meaning.__name__.rstrip("_")
        assert kind not in OPS, f"op {kind} is defined twice"
        doc = (meaning.__doc__ or "").strip()
        OPS[kind] = OpDef(
            kind, role, rule, _operands(rule), meaning, attrs, "step" in parameters, doc, tuple(reads), **facts
        )
        return OPS[kind]

    return register


def _operands(rule: Callable[..., Any]) -> tuple[int, int]:
    """How few and how many operands a type rule takes."""
    parameters = [p for p in inspect.signature(rule).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return sum(p.default is p.empty for p in parameters), len(parameters)


@cache
def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def none_counted(_op: Op) -> dict[str, int]:
    """Flops of a root that is bound by memory or by waiting."""
    return {}


def literal(number: Any) -> str:
    """A C float literal that reads back as the same f32."""
    return f"{float(number)!r}f"


def definition(kind: str) -> OpDef:
    if kind not in OPS:
        raise unknown("op", kind, OPS)
    return OPS[kind]


def require(condition: bool, message: str) -> None:
    """A type rule's check: the message shows both types."""
    if not condition:
        raise HfcError(message)

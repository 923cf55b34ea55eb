"""How an op is defined: its type rule, its numpy meaning and, for elementwise ops, its spelling in C, side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hfc.base.diagnostics import HfcError, unknown
from hfc.ir.graph import TensorType

OPS: dict[str, "OpDef"] = {}


@dataclass(frozen=True)
class OpDef:
    """kind, type rule (types, **attrs) -> type or tuple of types, numpy meaning, C spelling with {0}, {1}, {attr}.

    operands: fewest and most.  attrs: name -> default (inspect.Parameter.empty when required).  wants_step: the meaning takes `step=`.
    state: (operand, result) for an op that carries a state on: which operand is the state, which result its new value.
    journal: of a recurrent state's type: how many numbers say what a row does to the state (see hfc/step.py, Segment.commit).
    """

    kind: str
    rule: Callable[..., Any]
    operands: tuple[int, int]
    meaning: Callable[..., Any]
    attrs: dict[str, Any]
    wants_step: bool
    c: str | None
    state: tuple[int, int] | None
    journal: Callable[[TensorType], int] | None
    doc: str

    @property
    def elementwise(self) -> bool:
        return self.c is not None

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
            expected = low if low == high else f"{low} to {high}"
            raise HfcError(f"{self.kind}: takes {expected} operands, got {len(types)}")
        result = self.rule(*types, **attrs)
        return result if isinstance(result, tuple) else (result,)


def op(
    rule: Callable[..., Any],
    c: str | None = None,
    state: tuple[int, int] | None = None,
    journal: Callable[[TensorType], int] | None = None,
) -> Callable[[Callable], OpDef]:
    """Register the decorated numpy function as the meaning of the op that bears its name."""

    def register(meaning: Callable) -> OpDef:
        parameters = inspect.signature(meaning).parameters
        attrs = {n: p.default for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY and n != "step"}
        kind = meaning.__name__.rstrip("_")
        assert kind not in OPS, f"op {kind} is defined twice"
        doc = (meaning.__doc__ or "").strip()
        OPS[kind] = OpDef(kind, rule, _operands(rule), meaning, attrs, "step" in parameters, c, state, journal, doc)
        return OPS[kind]

    return register


def _operands(rule: Callable[..., Any]) -> tuple[int, int]:
    """How few and how many operands a type rule takes."""
    parameters = [p for p in inspect.signature(rule).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return sum(p.default is p.empty for p in parameters), len(parameters)


def definition(kind: str) -> OpDef:
    if kind not in OPS:
        raise unknown("op", kind, OPS)
    return OPS[kind]


def require(condition: bool, message: str) -> None:
    """A type rule's check: the message shows both types."""
    if not condition:
        raise HfcError(message)

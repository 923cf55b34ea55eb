"""The IR as text: `print_graph` and `parse_graph` are exact inverses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

from hfc.base.diagnostics import HfcError, Span, unknown
from hfc.base.nesting import DEEPEST, too_deep
from hfc.formats.recipe import Recipe
from hfc.ir.graph import Graph, Op, TensorType, Value, region
from hfc.ir.ops import OPS
from hfc.ir.text_error import syntax_error


def print_graph(graph: Graph) -> str:
    inputs = ", ".join(_typed(v) for v in graph.inputs)
    lines = [f"graph {graph.name}({inputs}) {{"]
    for op in graph.ops:
        lines += _op_lines(op, "  ")
    lines.append(f"  return {_values(graph.outputs)}")
    lines += [f"  update %{state.name} = %{new.name}" for state, new in graph.updates.items()]
    return "\n".join([*lines, "}", ""])


def print_op(op: Op) -> str:
    """One op (a region with its body), for messages and `hfc explain`."""
    return "\n".join(_op_lines(op, ""))


def _op_lines(op: Op, indent: str) -> list[str]:
    attrs = f" {{{', '.join(f'{k}={_value(v)}' for k, v in op.attrs.items() if k != 'stem' and v is not None)}}}"
    attrs = "" if attrs == " {}" else attrs
    if op.body is None:
        outputs = ", ".join(_typed(v) for v in op.outputs)
        return [f"{indent}{outputs} = {op.kind}({_values(op.inputs)}){attrs}"]
    head = f"{indent}kernel {op.attrs.get('stem', 'any')} -> {_values(op.outputs)}{attrs} {{"
    return [head, *(line for inner in op.body.ops for line in _op_lines(inner, indent + "  ")), indent + "}"]


def _typed(value: Value) -> str:
    return f"%{value.name}: {value.type}"


def _values(values) -> str:
    return ", ".join(f"%{v.name}" for v in values)


def _value(value: Any) -> str:
    if isinstance(value, Recipe):
        words = [_value(a) for a in value.args] + [f"{k}={_value(v)}" for k, v in value.params]
        return f"{value.op}({', '.join(words)})"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)


_PARSER = Lark(
    (Path(__file__).parent / "text.lark").read_text(), parser="lalr", start="graph", propagate_positions=True
)


def parse_graph(text: str, file: str = "<ir>") -> Graph:
    """Raises HfcError with file:line:col for anything that is not a graph."""
    try:
        tree = _PARSER.parse(text)
    except UnexpectedInput as error:
        raise syntax_error(error, _PARSER, text, file) from None
    if too_deep(tree) is not None:
        raise HfcError(f"{file}: this is nested more than {DEEPEST} levels deep")
    return _Reader(text, file).graph(tree)


class _Reader:
    """Turns the parse tree into a graph; knows the values defined so far."""

    def __init__(self, text: str, file: str):
        self.lines, self.file = text.splitlines(), file
        self.known: dict[str, Value] = {}

    def graph(self, tree) -> Graph:
        name, rest = tree.children[0], [c for c in tree.children[1:] if c is not None]
        inputs = [self.define(t) for t in rest if t.data == "typed"]
        ops = [self.op(t) for t in rest if t.data in ("plain", "kernel")]
        (returned,) = (t for t in rest if t.data == "values")
        updates = {self.use(state): self.use(new) for state, new in (t.children for t in rest if t.data == "update")}
        return Graph(str(name), inputs, ops, self.uses(returned), updates)

    def op(self, tree) -> Op:
        return self.kernel(tree) if tree.data == "kernel" else self.plain(tree)

    def plain(self, tree) -> Op:
        typed = [c for c in tree.children if getattr(c, "data", None) == "typed"]
        kind, inputs, attrs = tree.children[len(typed) :]
        if str(kind) not in OPS:
            raise unknown("op", str(kind), OPS, self.span(kind))
        used = tuple(self.uses(inputs)) if inputs else ()
        given = self.attrs(attrs)
        self.check_attrs(kind, given, attrs)
        found = {**{name: None for name, value in OPS[str(kind)].attrs.items() if value is None}, **given}
        return Op(str(kind), used, tuple(self.define(t) for t in typed), found, span=self.span(kind))

    def check_attrs(self, kind: Token, given: dict[str, Any], tree) -> None:
        """Each is one of the op's, and none is missing."""
        try:
            OPS[str(kind)].complete(given)
        except HfcError as error:
            names = {str(a.children[0]): a.children[0] for a in tree.children if a} if tree else {}
            wrong = next((token for name, token in names.items() if name not in OPS[str(kind)].attrs), kind)
            raise HfcError(error.message, self.span(wrong), error.hint) from None

    def kernel(self, tree) -> Op:
        stem, outputs, attrs, *body = tree.children
        ops = [self.op(t) for t in body]
        found = {} if str(stem) == "any" else {"stem": str(stem)}
        return region(ops, self.uses(outputs), {**found, **self.attrs(attrs)})

    def define(self, tree) -> Value:
        token, type = tree.children
        dims = tuple(int(d) if d.isdigit() else str(d) for d in (c.children[0] for c in type.children[1:] if c))
        if str(token) in self.known:
            raise HfcError(f"{token} is defined twice", self.span(token))
        self.known[str(token)] = Value(token[1:], TensorType(str(type.children[0]), dims))
        return self.known[str(token)]

    def use(self, token: Token) -> Value:
        if str(token) not in self.known:
            raise unknown("value", str(token), self.known, self.span(token))
        return self.known[str(token)]

    def uses(self, tree) -> list[Value]:
        return [self.use(t) for t in tree.children]

    def attrs(self, tree) -> dict[str, Any]:
        try:
            return dict(_Attributes().transform(tree).children) if tree else {}
        except VisitError as error:
            span = Span(self.file, tree.meta.line, tree.meta.column, 1, self.lines[tree.meta.line - 1])
            raise HfcError(f"an attribute that cannot be read: {error.orig_exc}", span) from None

    def span(self, token: Token) -> Span:
        line, column = token.line or 1, token.column or 1
        return Span(self.file, line, column, len(token), self.lines[line - 1])


@v_args(inline=True)
class _Attributes(Transformer):
    """Attribute values: numbers, strings, tuples, recipes."""

    def number(self, token):
        return int(token) if token.lstrip("-").isdigit() else float(token)

    def string(self, token):
        return json.loads(token)

    def true(self):
        return True

    def false(self):
        return False

    def list(self, *items):
        return tuple(i for i in items if i is not None)

    def attr(self, name, value):
        return (str(name), value)

    def recipe(self, name, *arguments):
        given = [a for a in arguments if a is not None]
        args = tuple(a for a in given if isinstance(a, Recipe))
        return Recipe(str(name), args, tuple(a for a in given if not isinstance(a, Recipe)))
